#!/usr/bin/env python3
"""The table of usage.py against testdata/cases.json: what each body says in quotad's meters. Prints "ok" or "not ok" a case."""

import json
import pathlib
import sys

from usage import Answer, parts

TESTDATA = pathlib.Path(__file__).resolve().parent.parent / "testdata"
GUESSED_INPUT = 7


def read(case):
    answer = Answer()
    body = (TESTDATA / case["file"]).read_bytes()
    if case["file"].endswith(".sse"):
        for line in body.splitlines(keepends=True)[: case.get("lines")]:
            answer.take_line(line)
    else:
        answer.take_json(body)
    return answer


def seen(case):
    """What usage.py says, in the words of cases.json."""
    answer = read(case)
    used = answer.used(GUESSED_INPUT)
    found = {
        "used": used.meters,
        "written_1h": used.written_1h,
        "tier": answer.tier,
        "done": answer.done,
        "failed": answer.failed,
    }
    if "parts" in case:
        found["parts"] = [{"cache_write_ttl": ttl, "usage": meters} for meters, ttl in parts(used)]
    return found


def main():
    bad = 0
    for case in json.loads((TESTDATA / "cases.json").read_text()):
        wanted = {"written_1h": 0, "tier": 0, "done": False, "failed": False, **case}
        lines = wanted.pop("lines", None)
        name = wanted.pop("file") + (f"_cut_after_{lines}_lines" if lines else "")
        found = seen(case)
        bad += found != wanted
        print(f"{'ok' if found == wanted else 'not ok'} python_usage_{name}")
        if found != wanted:
            print(f"    found:  {found}\n    wanted: {wanted}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
