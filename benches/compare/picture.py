"""The comparison as an SVG: for each kind of query a bar a server, user time dark, system time light."""

from html import escape

ROW, GAP, LEFT, WIDTH = 16, 26, 110, 640
LIMIT = 12_000  # Longer bars are cut, and say so.
USER, SYSTEM, OURS_USER, OURS_SYSTEM = "#4a5568", "#cbd5e0", "#276749", "#9ae6b4"


def draw(summary):
    lines, top = [], 40
    widest = min(max(row["cpu_ns"] for rows in summary.values() for row in rows.values()), LIMIT)
    scale = (WIDTH - LEFT - 90) / widest
    for kind, rows in summary.items():
        lines.append(f'<text x="0" y="{top + 11}" font-weight="bold">{escape(kind)}</text>')
        top += ROW + 2
        for name, row in rows.items():
            ours = name == "rollcall"
            user = min(row["user_ns"], widest) * scale
            whole = min(row["cpu_ns"], widest) * scale
            cut = " (bar cut)" if row["cpu_ns"] > widest else ""
            lines.append(f'<text x="{LEFT - 6}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
            lines.append(f'<rect x="{LEFT}" y="{top + 1}" width="{user:.1f}" height="{ROW - 3}" '
                         f'fill="{OURS_USER if ours else USER}"/>')
            lines.append(f'<rect x="{LEFT + user:.1f}" y="{top + 1}" width="{max(whole - user, 0):.1f}" height="{ROW - 3}" '
                         f'fill="{OURS_SYSTEM if ours else SYSTEM}"/>')
            lines.append(f'<text x="{LEFT + whole + 5:.1f}" y="{top + 12}">{row["cpu_ns"] / 1000:.2f} µs{cut}</text>')
            top += ROW
        top += GAP - ROW
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 20}" height="{top}" '
            'font-family="system-ui, sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH + 20}" height="{top}" fill="white"/>\n'
            '<text x="0" y="16">CPU time a UDP query, one worker: dark in user space, light in the kernel. Less is better.</text>\n')
    return head + "\n".join(lines) + "\n</svg>\n"
