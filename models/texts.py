# SPDX-License-Identifier: MIT
"""Three texts to measure language models on, out of Debian packages: nothing is installed, no root is needed."""
import html.parser
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

import files

# Package, version, licence, what the text is.
PROSE = "anarchism", "15.3-3", "GPL-2", "the political FAQ, sections A.1 on"
TECHNICAL = "debian-handbook", "11.20220922", "GPL-2+ or CC-BY-SA-3.0", "the Debian Administrator's Handbook, chapter 6"
DIALOGUE = "perl-doc", "5.36.0-7+deb12u4", "Artistic or GPL-1+", "perlfaq4 on: a question, its answer, the next"

FAQ_PAGES = [f"/html/secA{i}.html" for i in range(1, 6)]
HANDBOOK_PAGES = [f"/html/en-US/{page}.html" for page in
                  ("apt", "sect.apt-get", "sect.apt-cache", "sect.apt-frontends")]
PERL_FAQS = [f"/pod/perlfaq{i}.pod" for i in range(4, 10)]


def run(command, **rest):
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **rest).stdout
    except FileNotFoundError as error:
        raise files.Refused(f"{command[0]}: not here; the texts are from Debian packages, and take apt-get and "
                            "dpkg-deb (Debian, Ubuntu)") from error
    except subprocess.CalledProcessError as error:
        raise files.Refused(f"{' '.join(command)}: {error.stderr.decode().strip() or error.returncode}") from error


def offered(package):
    """The versions that apt offers, best first."""
    lines = run(["apt-cache", "madison", package]).decode().splitlines()
    return list(dict.fromkeys(line.split("|")[1].strip() for line in lines))


def package_file(package, version, folder, say):
    """The package in folder, fetched if it is not there: of this version, or else of one that is named aloud."""
    folder.mkdir(parents=True, exist_ok=True)
    have = folder / f"{package}_{version}.deb"
    if have.exists():
        return have, version
    versions = offered(package)
    if not versions:
        raise files.Refused(f"apt offers no package {package}: try apt-get update, as root")
    if version not in versions:
        say(f"{package} {version} is not on offer; taking {versions[0]}: figures will differ a little")
        version = versions[0]
    have = folder / f"{package}_{version}.deb"
    if not have.exists():
        say(f"fetching {package} {version} by apt-get download")
        with tempfile.TemporaryDirectory(dir=folder) as new:
            run(["apt-get", "download", f"{package}={version}"], cwd=new)  # apt checks what it fetched
            shutil.move(next(pathlib.Path(new).glob("*.deb")), have)
    return have, version


def members(deb, names):
    """The texts of the files of a package whose paths end so, in the order of names."""
    found = {}
    try:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpack:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
                for member in archive:
                    for name in filter(member.name.endswith, names):
                        found[name] = archive.extractfile(member).read().decode()
    except tarfile.TarError as error:
        raise files.Refused(f"{deb}: cut short or changed; delete it and run this again") from error
    missing = [name for name in names if name not in found]
    if missing or unpack.returncode:
        raise files.Refused(f"{deb}: {missing[0] if missing else 'its end'} is not in it; delete it and run this again")
    return [found[name] for name in names]


class Paragraphs(html.parser.HTMLParser):
    """The text of a page: a paragraph for each block, code as it is, without navigation and lists of contents."""
    BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "li", "ul", "ol", "dl", "dt", "dd", "blockquote", "table",
              "tr", "pre", "br", "hr", "body"}
    SKIPPED = {"head", "script", "style"}
    VOID = {"br", "hr", "img", "meta", "link", "input"}

    def __init__(self, page):
        super().__init__()
        self.paragraphs, self.now, self.skipping, self.code = [], "", 0, 0
        self.feed(page)
        self.end_block()

    def end_block(self):
        text = self.now.strip("\n").rstrip() if self.code else " ".join(self.now.split())
        if text:
            self.paragraphs.append(text)
        self.now = ""

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if self.skipping and tag not in self.VOID:
            self.skipping += 1
        elif tag in self.SKIPPED or set((attributes.get("class") or "").split()) & {"docnav", "toc"} or \
                attributes.get("id") in ("banner", "title"):
            self.skipping = 1
        if tag in self.BLOCKS and not (self.code and tag != "pre"):
            self.end_block()
        self.code += tag == "pre"

    def handle_endtag(self, tag):
        if self.skipping and tag not in self.VOID:
            self.skipping -= 1
        if tag in self.BLOCKS and not (self.code and tag != "pre"):
            self.end_block()
        self.code -= tag == "pre"

    def handle_data(self, text):
        if not self.skipping:
            self.now += text


def pages(deb, names):
    return "\n\n".join("\n\n".join(Paragraphs(page).paragraphs) for page in members(deb, names))


def plain_pod(text):
    """A paragraph of POD without its formatting codes."""
    text = re.sub(r"E<(\w+)>", lambda m: {"lt": "\0", "gt": "\1", "verbar": "|", "sol": "/"}.get(m[1], m[1]), text)
    before = None
    while before != text:  # the innermost first
        before = text
        text = re.sub(r"[XZ]<[^<>]*>", "", text)
        text = re.sub(r"L<(?:([^<>|]*)\|)?([^<>]*)>", lambda m: m[1] or m[2].replace('"', "").strip("/"), text)
        text = re.sub(r"[BCFIS]<<+ (.*?) >+>", r"\1", text, flags=re.S)
        text = re.sub(r"[BCFIS]<([^<>]*)>", r"\1", text)
    return text.replace("\0", "<").replace("\1", ">")


def questions(pod):
    """Of a perlfaq: (question, answer)."""
    out = []
    for part in re.split(r"^=head2 ", pod, flags=re.M)[1:]:
        question, _, body = re.split(r"^=head1 ", part, flags=re.M)[0].partition("\n\n")
        kept = []
        for paragraph in re.split(r"\n\s*\n", body):
            if paragraph.startswith("=item"):
                paragraph = paragraph.partition(" ")[2]
            elif paragraph.startswith("="):
                continue
            kept.append(paragraph.rstrip() if paragraph[:1] in (" ", "\t") else plain_pod(" ".join(paragraph.split())))
        out.append((plain_pod(" ".join(question.split())), "\n\n".join(p for p in kept if p).strip("\n")))
    return [(question, answer) for question, answer in out if answer]


def chat(deb):
    return [{"role": role, "content": text} for pod in members(deb, PERL_FAQS) for pair in questions(pod)
            for role, text in zip(("user", "assistant"), pair)]


def get(which, folder, say):
    """The text, or for DIALOGUE the messages; what it is and from where; its licence."""
    package, wanted, licence, what = which
    deb, version = package_file(package, wanted, folder, say)
    content = chat(deb) if which is DIALOGUE else pages(deb, FAQ_PAGES if which is PROSE else HANDBOOK_PAGES)
    return content, f"{what} (Debian package {package} {version})", licence
