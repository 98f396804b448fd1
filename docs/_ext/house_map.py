"""A map of the package, drawn from its imports when the docs are built.

``.. house-map::`` draws a box for each module and folder right below the package, with the first line of its docstring
and the files in it, and an arrow for each import that does not follow from others. ``python docs/_ext/house_map.py FILE``
writes the same to a file.
"""

import ast
import sys
import textwrap
from html import escape
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "skbackprop"

_WIDTH, _LINE, _PADDING = 216, 14, 8
_GAP, _RISE, _LANE = 22, 40, 14
_STYLE = """
.house-map { max-width: 44rem; }
.house-map rect { fill: var(--pst-color-surface, #f5f5f5); stroke: var(--pst-color-border, #999999); }
.house-map text { fill: var(--pst-color-text-base, #222222); font: 11px sans-serif; }
.house-map .name { font: bold 13px monospace; }
.house-map .files { fill: var(--pst-color-text-muted, #666666); font: 10px monospace; }
.house-map path { fill: none; stroke: var(--pst-color-text-muted, #666666); stroke-width: 1.2; }
.house-map marker path { fill: var(--pst-color-text-muted, #666666); stroke: none; }
"""


def parts(package=PACKAGE):
    """What lies right below the package: for each module and folder the files in it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        first = path.relative_to(package).parts[0].removesuffix(".py")
        found.setdefault(package.name if first == "__init__" else first, []).append(path)
    return found


def imports(found, package=PACKAGE):
    """For each part those that it imports."""

    def imported(node):
        if isinstance(node, ast.ImportFrom):
            return [f"{node.module}.{alias.name}" for alias in node.names]
        return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []

    def part(name):
        first, _, rest = name.partition(".")
        if first != package.name:
            return None
        inner = rest.partition(".")[0]
        return inner if inner in found else first

    return {
        name: {
            part(module)
            for path in files
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for module in imported(node)
        }
        - {None, name}
        for name, files in found.items()
    }


def reduced(edges):
    """The arrows that do not follow from others."""

    def beyond(name):
        return set().union(*({inner} | beyond(inner) for inner in edges[name]))

    return {name: inner - set().union(*map(beyond, inner)) for name, inner in edges.items()}


def rows(edges):
    """The row of each part: above all that it imports, and as low as these allow where nothing imports it."""
    above = {name: [other for other, inner in edges.items() if name in inner] for name in edges}

    def depth(name):
        return max((1 + depth(other) for other in above[name]), default=0)

    found = {name: depth(name) for name in edges}
    for name, inner in edges.items():
        if not above[name] and inner:
            found[name] = min(found[other] for other in inner) - 1
    return found


class _Box:
    """A part, or with neither name nor text the place where an arrow passes a row."""

    def __init__(self, name="", files=()):
        self.name = name
        self.text, self.files = [], []
        if name:
            main = next((path for path in files if path.stem == "__init__"), files[0])
            docstring = ast.get_docstring(ast.parse(main.read_text(encoding="utf-8")))
            self.text = textwrap.wrap(docstring.partition("\n")[0].replace("`", ""), 33)
            folders = {}
            for path in files:
                folders.setdefault(path.parent, []).append(path.stem)
            for folder, stems in folders.items():
                inner = [stem for stem in stems if stem != "__init__"] if main.stem == "__init__" else []
                words = [f"{folder.name}/"] * (folder != main.parent) + inner
                self.files += textwrap.wrap(" ".join(words), 31, subsequent_indent="  " * (folder != main.parent))
        self.width = _WIDTH if name else _LANE
        self.height = _LINE * (1 + len(self.text) + len(self.files)) + 2 * _PADDING if name else 0
        self.x = self.y = 0.0


def _placed(found, edges):
    """All boxes by row, and the chains of boxes that arrows go through, with as few crossings as a few sweeps leave."""
    row_of = rows(edges)
    boxes = {name: _Box(name, files) for name, files in found.items()}
    grid = [[boxes[name] for name in found if row_of[name] == row] for row in range(max(row_of.values()) + 1)]
    chains = []
    for name, inner in reduced(edges).items():
        for other in sorted(inner):
            lanes = [_Box() for _ in range(row_of[name] + 1, row_of[other])]
            for row, lane in enumerate(lanes, row_of[name] + 1):
                grid[row].append(lane)
            chains.append([boxes[name], *lanes, boxes[other]])
    width = max(sum(box.width + _GAP for box in row) for row in grid)
    y = 0
    for row in grid:
        for box in row:
            box.y = y
        y += max(box.height for box in row) + _RISE
    near = {}
    for chain in chains:
        for one, other in pairwise(chain):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    for sweep in range(12):
        for row in grid if sweep % 2 else grid[::-1]:
            if sweep:
                row.sort(key=lambda box: sum(other.x for other in near[box]) / len(near[box]) if box in near else box.x)
            x = (width - sum(box.width + _GAP for box in row)) / 2
            for box in row:
                box.x = x + (box.width + _GAP) / 2
                x += box.width + _GAP
    return boxes, grid, chains, width, y - _RISE


def draw(package=PACKAGE):
    """The map as SVG."""
    found = parts(package)
    boxes, grid, chains, width, height = _placed(found, imports(found, package))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="house-map" viewBox="0 0 {width:.0f} {height + 2:.0f}" role="img">',
        f"<title>What imports what in {package.name}</title><style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 Z"/></marker></defs>',
    ]
    bottom = {box: box.y + max(other.height for other in row) for row in grid for box in row}
    for chain in chains:
        path = f"M{chain[0].x:.0f} {chain[0].y + chain[0].height:.0f}"
        for one, other in pairwise(chain):
            # Straight beside the boxes of a row, curved between rows.
            start, end = bottom[one], other.y
            middle = (start + end) / 2
            path += f" L{one.x:.0f} {start:.0f} C{one.x:.0f} {middle:.0f} {other.x:.0f} {middle:.0f} {other.x:.0f} {end:.0f}"
        lines.append(f'<path d="{path}" marker-end="url(#tip)"/>')
    for box in boxes.values():
        left = box.x - box.width / 2
        lines.append(f'<rect x="{left:.0f}" y="{box.y + 1:.0f}" width="{box.width}" height="{box.height}" rx="4"/>')
        texts = [("name", box.name), *(("text", line) for line in box.text), *(("files", line) for line in box.files)]
        for number, (kind, line) in enumerate(texts, 1):
            y = box.y + _PADDING + number * _LINE - 2
            lines.append(f'<text class="{kind}" x="{left + _PADDING:.0f}" y="{y:.0f}">{escape(line)}</text>')
    return "\n".join([*lines, "</svg>"])


def setup(app):
    """Register the directive."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class HouseMap(SphinxDirective):
        def run(self):
            for files in parts().values():
                for path in files:
                    self.env.note_dependency(str(path))
            return [nodes.raw("", draw(), format="html")]

    app.add_directive("house-map", HouseMap)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
