#!/usr/bin/env python3
"""Packs tokenizer cases into a small text file: per line base64 of the bytes, ids with special tokens parsed, ids
of the plain text ("=" where they are the same), separated by tabs.

Usage: make_tokenizer_cases.py CASES.jsonl OUT.tsv
"""
import json
import sys


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as cases, open(sys.argv[2], "w", encoding="ascii") as out:
        for line in cases:
            case = json.loads(line)
            ids = " ".join(map(str, case["ids"]))
            plain = " ".join(map(str, case["ids_plain"]))
            out.write(f"{case['b64']}\t{ids}\t{'=' if plain == ids else plain}\n")


if __name__ == "__main__":
    main()
