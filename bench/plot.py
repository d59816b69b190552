"""Plain line charts as SVG, side by side: each from 0, so that what grows in proportion is a straight line."""

from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 520, 340, 70, 30, 40
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf")


def text(x, y, words, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(words))}</text>'


def chart(rows, key, title, left):
    names = list(dict.fromkeys(row["name"] for row in rows))
    most_x, most_y = max(row["n"] for row in rows), max(row[key] for row in rows)
    wide, high = WIDTH - LEFT - 20, HEIGHT - TOP - BOTTOM

    def at(x, y):
        return left + LEFT + x / most_x * wide, TOP + high - y / most_y * high

    (x0, y0), (x1, y1) = at(0, 0), at(most_x, most_y)
    parts = [f'<path d="M{x0:.1f} {y1:.1f}V{y0:.1f}H{x1:.1f}" fill="none" stroke="#000"/>']
    parts.append(text((x0 + x1) / 2, TOP - 12, title))
    for i in range(5):
        x, y = at(most_x * i / 4, most_y * i / 4)
        parts += [text(x, y0 + 18, round(most_x * i / 4)), text(x0 - 6, y + 4, f"{most_y * i / 4:.3g}", "end")]
    for i, name in enumerate(names):
        colour = COLOURS[i % len(COLOURS)]
        points = [at(row["n"], row[key]) for row in rows if row["name"] == name]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
        parts.append(f'<g fill="{colour}">{text(x0 + 10, y1 + 12 + 14 * i, name, "start")}</g>')
    return parts


def draw(rows, keys):
    """A chart for each of the keys of rows, which have a name and an n too."""
    parts = [part for i, (key, title) in enumerate(keys) for part in chart(rows, key, title, i * WIDTH)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(keys)}" height="{HEIGHT}"'
    return "\n".join([head + ' font-family="sans-serif" font-size="11">', *parts, "</svg>"]) + "\n"
