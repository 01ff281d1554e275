#!/usr/bin/env python3
"""Writes the rows of core/regex_fold.c from Unicode's CaseFolding.txt (Debian package unicode-data).

  tests/tools/make-regex-fold.py /usr/share/unicode/CaseFolding.txt

Code points that fold to the same one (statuses C and S) form an orbit; each row says how far the next member is.
A row whose step is ALTERNATE covers pairs: lo <-> lo + 1, lo + 2 <-> lo + 3 and so on.
"""
import sys
from collections import defaultdict

orbits = defaultdict(set)
for line in open(sys.argv[1], encoding="utf-8"):
    line = line.split("#")[0].strip()
    if not line:
        continue
    cp, status, to = [x.strip() for x in line.split(";")][:3]
    if status in "CS":
        orbits[int(to, 16)] |= {int(to, 16), int(cp, 16)}

following = {}
for members in orbits.values():
    m = sorted(members)
    for i, c in enumerate(m):
        following[c] = m[(i + 1) % len(m)]

cps = sorted(following)
rows, i = [], 0
while i < len(cps):
    c = cps[i]
    j = i
    while (j + 1 < len(cps) and cps[j] + 1 == cps[j + 1]
           and following[cps[j]] == cps[j + 1] and following[cps[j + 1]] == cps[j]):
        j += 2
        if j >= len(cps) or cps[j] != cps[j - 1] + 1:
            break
    if j > i:
        rows.append((c, cps[j - 1], "ALTERNATE"))
        i = j
        continue
    delta = following[c] - c
    j = i
    while j + 1 < len(cps) and cps[j + 1] == cps[j] + 1 and following[cps[j + 1]] - cps[j + 1] == delta:
        j += 1
    rows.append((c, cps[j], str(delta)))
    i = j + 1

line = "   "
for lo, hi, step in rows:
    item = " {0x%X, 0x%X, %s}," % (lo, hi, step)
    if len(line) + len(item) > 118:
        print(line)
        line = "   "
    line += item
print(line)
