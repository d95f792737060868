#!/usr/bin/python3
"""Asks every server the same promises and prints who keeps which.

    conformance.py [--only WORD] [--table FILE] NAME=HOST:PORT …

The first server is the one that is judged: exit 1 when it breaks a promise. The others show wrong expectations. `--table`
writes the scores as Markdown.
"""
import sys

from conformance_cases import CASES
from conformance_wire import Server


def main():
    arguments, only, table = sys.argv[1:], "", None
    while arguments and arguments[0].startswith("--"):
        if arguments[0] == "--only":
            only = arguments[1]
        elif arguments[0] == "--table":
            table = arguments[1]
        arguments = arguments[2:]
    servers = []
    for argument in arguments:
        name, address = argument.split("=")
        host, port = address.rsplit(":", 1)
        servers.append((name, host, int(port)))
    judged = servers[0][0]

    scores = {}             # (section, level, server) -> [kept, asked]
    differing, broken = [], []
    for section, level, title, transports, function in CASES:
        if only and only not in f"{section} {title}":
            continue
        for transport in transports:
            verdicts = {name: verdict(function, Server(host, port, transport)) for name, host, port in servers}
            for name, why in verdicts.items():
                score = scores.setdefault((section, level, name), [0, 0])
                score[0] += why is None
                score[1] += 1
            if any(verdicts.values()):
                differing.append((section, level, title, transport, verdicts))
                print(f"{section} ({level}, {transport}): {title}")
                for name, why in verdicts.items():
                    print(f"    {name:9} {why or 'ok'}")
            if verdicts[judged] is not None:
                broken.append(title)
    names = [name for name, _, _ in servers]
    lines = scores_table(scores, names)
    print("\n" + "\n".join(lines))
    if table:
        with open(table, "w") as out:
            out.write("\n".join(lines) + "\n\n")
            out.write("\n".join(differences_table(differing, names)) + "\n")
    total = sum(score[1] for (_, _, name), score in scores.items() if name == judged)
    print(f"\n{judged}: {total - len(broken)} passed, {len(broken)} failed")
    return 1 if broken else 0


def verdict(function, server):
    """None when the promise is kept, else what was found."""
    try:
        function(server)
        return None
    except AssertionError as error:
        return str(error)
    except Exception as error:  # a server that closes, or answers with something that cannot be read at all
        return f"{type(error).__name__}: {error}"


def scores_table(scores, names):
    lines = ["| section | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    sections = list(dict.fromkeys((section, level) for section, level, _ in scores))
    for section, level in sorted(sections, key=lambda one: (one[1] != "rfc",)):
        cells = ["{}/{}".format(*scores[(section, level, name)]) for name in names]
        lines.append(f"| {section}{'' if level == 'rfc' else ', a choice'} | " + " | ".join(cells) + " |")
    for level, title in (("rfc", "**demanded by an RFC**"), ("own", "**a choice**")):
        cells = []
        for name in names:
            picked = [score for (_, other, server), score in scores.items() if (other, server) == (level, name)]
            kept, asked = sum(one[0] for one in picked), sum(one[1] for one in picked)
            cells.append(f"{kept}/{asked} ({100 * kept / max(asked, 1):.1f} %)")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def differences_table(differing, names):
    lines = ["| promise | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    merged = {}
    for section, level, title, transport, verdicts in differing:
        merged.setdefault((section, level, title), []).append((transport, verdicts))
    for (section, level, title), found in merged.items():
        cells = []
        for name in names:
            whys = [verdicts[name] for _, verdicts in found if verdicts[name]]
            cells.append(whys[0].replace("|", "\\|")[:90] if whys else "ok")
        lines.append(f"| {section}: {title} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
