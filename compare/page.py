"""The HTML page of report.py: one self-contained file with a plot and a table for each figure. The plots
are SVG: one line per command, a dot at each malloc's median on a logarithmic axis of ratios to the
base, a bar from its fastest to its slowest run."""

import html
import math

COLOURS = ("#7f7f7f", "#d62728", "#ff7f0e", "#9467bd", "#1f77b4", "#8c564b", "#17becf", "#bcbd22")
SUBJECT_COLOUR = "#2ca02c"
LEFT, WIDTH, ROW, TOP = 170, 640, 22, 26
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .15em .7em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
tr.behind td { background: #fdeaea }
tr.mean td { font-weight: 600; border-top: 2px solid #888 }
.key span { display: inline-block; width: .8em; height: .8em; border-radius: .4em; margin: 0 .3em 0 1em }
text { font: 12px system-ui, sans-serif; fill: #333 }
"""


def colours(libraries, subject):
    others = (name for name in libraries if name != subject)
    result = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(others)}
    result[subject] = SUBJECT_COLOUR
    return result


def plot(rows, libraries, base, colour):
    rows = [row for row in rows if row.ratios]
    if not rows:
        return ""
    extremes = [value / row.cells[base].median for row in rows for name in libraries
                if name in row.cells for value in row.cells[name].values if value > 0]
    low = math.floor(math.log2(min(extremes + [0.5])))
    high = math.ceil(math.log2(max(extremes + [2.0])))

    def x(ratio):
        return LEFT + WIDTH * (math.log2(ratio) - low) / (high - low)

    height = TOP + ROW * len(rows) + 8
    parts = [f'<svg width="{LEFT + WIDTH + 30}" height="{height}" role="img">']
    for power in range(low, high + 1):
        at = x(2.0 ** power)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height}" '
                     f'stroke="{"#888" if power == 0 else "#e4e4e4"}"/>'
                     f'<text x="{at:.1f}" y="14" text-anchor="middle">{2.0 ** power:g}</text>')
    for index, row in enumerate(rows):
        y = TOP + ROW * index + ROW / 2
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">'
                     f'{html.escape(row.command)}</text>')
        for number, name in enumerate(name for name in libraries if name in row.cells):
            cell, unit = row.cells[name], row.cells[base].median
            lane = y - 7 + 14 * (number + 0.5) / len(libraries)
            if min(cell.values) <= 0:
                continue
            parts.append(
                f'<g><title>{html.escape(name)}: {cell.median:.4g}, {row.ratios[name]:.2f} of '
                f'{html.escape(base)}, {len(cell.values)} runs</title>'
                f'<line x1="{x(min(cell.values) / unit):.1f}" x2="{x(max(cell.values) / unit):.1f}" '
                f'y1="{lane:.1f}" y2="{lane:.1f}" stroke="{colour[name]}" stroke-width="2"/>'
                f'<circle cx="{x(cell.median / unit):.1f}" cy="{lane:.1f}" r="4" '
                f'fill="{colour[name]}"/></g>')
    parts.append("</svg>")
    return "\n".join(parts)


def table(grid):
    """`grid` is what report.py also prints as Markdown: a head, rows of text, and a class per row."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in grid.head)
    body = "\n".join(
        f'<tr class="{kind}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for kind, row in grid.rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def page(title, sections, how, libraries, subject, base):
    """`sections`: (title, rows, grid) for each figure."""
    colour = colours(libraries, subject)
    key = "".join(f'<span style="background:{colour[name]}"></span>{html.escape(name)}'
                  for name in libraries)
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="key">{key}</p>',
            f"<p>Dots are medians relative to {html.escape(base)} (left is better), bars reach from the "
            "lowest to the highest run.</p>"]
    for heading, rows, grid in sections:
        body += [f"<h2>{html.escape(heading)}</h2>", plot(rows, libraries, base, colour), table(grid)]
    body.append("<h2>How it was measured</h2><ul>" +
                "".join(f"<li>{html.escape(line)}</li>" for line in how) + "</ul>")
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>'
            f'{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n' +
            "\n".join(body) + "\n</body></html>\n")
