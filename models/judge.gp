# SPDX-License-Identifier: MIT
# What a four-bit cache does to a model whose keys have a common part: gnuplot -c judge.gp OUT.png TABLE HEADING
#
# TABLE: lines of NAME BITS KL PERPLEXITY-CHANGE, the worst first; names of blocks hold "_0" or "_nl".
set terminal pngcairo noenhanced size 1100,480 font "sans,13" linewidth 1.5
set output ARG1
table = ARG2
set title ARG3
stats table using 3 nooutput
n = STATS_records
set logscale x
set xrange [1e-4:8000]
set yrange [-0.6:n - 0.4]
set xtics ("0.0001" 1e-4, "0.001" 1e-3, "0.01" 1e-2, "0.1" 0.1, "1" 1, "10" 10) out nomirror
set xlabel "KL divergence of the next token's distribution from a float32 cache's, nats (mean)"
set ytics out nomirror
set border 3
set grid xtics linecolor rgb "#dddddd"
set lmargin 34
set style fill solid 0.85 noborder
unset key
blocks(name) = strstrt(name, "_0") > 0 || strstrt(name, "_nl") > 0
colour(name) = blocks(name) ? 0xb3541e : 0x0072b2
told(kl, change) = sprintf("KL %.1e, perplexity %s", kl, \
                           change < 1000 ? sprintf("%+.2f %%", change) : sprintf("x %.0f", 1 + change / 100))
plot table using (1e-4):0:(1e-4):3:($0 - 0.36):($0 + 0.36):(colour(strcol(1))):ytic(sprintf("%s   %.2f bits", strcol(1), $2)) \
         with boxxyerror linecolor rgb variable, \
     table using ($3 * 1.15):0:(told($3, $4)) with labels left font "sans,11" textcolor rgb "#333333"
