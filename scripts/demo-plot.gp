# SPDX-License-Identifier: MIT
# Error against bits per value: gnuplot -c demo-plot.gp OUT.png HEADING "NAME..." '"TITLE"...'
#
# NAME.txt is a table of `tqkv sweep`, formats.txt that of `tqkv formats`.
set terminal pngcairo size 1100,760 font "sans,13" linewidth 1.5
set output ARG1
names  = ARG3
titles = ARG4

set title ARG2." - error against size"
set xlabel "bits per value, norms and centre counted"
set ylabel "relative squared error"
set logscale y
set format y "10^{%T}"
set xrange [1.8:*]
set xtics 1
set grid xtics ytics linecolor rgb "#cccccc"
set key top right samplen 2 spacing 1.2
set border 3
set tics nomirror

array colour[5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]
array filled[5] = [7, 9, 11, 5, 13]
array hollow[5] = [6, 8, 10, 4, 12]
is_v1(name)     = strstrt(name, "-v1") > 0
is_v2(name)     = name[1:2] eq "tq" && !is_v1(name) # not the heading
bits(name)      = real(name[3:3])

plot "formats.txt" using (is_v2(strcol(1)) ? bits(strcol(1)) : NaN):($6 / $7) \
         with lines dashtype 2 linewidth 1.3 linecolor rgb "#555555" title "Lloyd-Max optimum, codes alone", \
     for [i = 1:words(names)] word(names, i).".txt" \
         using (is_v2(strcol(1)) ? $2 : NaN):3 with linespoints linecolor rgb colour[i] \
         pointtype filled[i] pointsize 1.8 - 0.25 * i title word(titles, i), \
     for [i = 1:words(names)] word(names, i).".txt" \
         using (is_v1(strcol(1)) ? $2 : NaN):3 with points linecolor rgb colour[i] \
         pointtype hollow[i] pointsize 2.4 - 0.25 * i notitle, \
     word(names, 1).".txt" using (is_v1(strcol(1)) ? $2 : NaN):3:1 \
         with labels left offset 1.5, 0.6 textcolor rgb "#555555" notitle
