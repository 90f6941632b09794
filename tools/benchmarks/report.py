"""The results of a benchmark: ratios, and JSON, Markdown and pictures."""

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from attention_methods import PUBLICATION, SDPA
from suites import ACCEPTANCE, SCALING

MIB = 2**20
SHAPE = ('batch', 'heads', 'head_dim', 'height', 'width')


def ratios(rows: list[dict], ours: str, itemsize: int) -> list[dict]:
    """Compare one of our backends with the other methods, as acceptance asks.

    Args:
        rows (list[dict]): The results.
        ours (str): The method that is compared.
        itemsize (int): Bytes of an element of the inputs.

    Returns:
        list[dict]: ``shape``, ``direction``, ``ratio`` (its name) and ``value``.
    """
    result = []

    def add(row: dict, name: str, numerator: float | None, denominator: float | None) -> None:
        if numerator and denominator:
            shape = f'B{row["batch"]} H{row["heads"]} d{row["head_dim"]} {row["height"]}x{row["width"]}'
            value = numerator / denominator
            result.append(dict(shape=shape, direction=row['direction'], ratio=name, value=value))

    mine = [row for row in rows if row['method'] == ours and row['series'].startswith(ACCEPTANCE)]
    for row in mine:
        if row['series'] == SCALING:
            continue
        same = (*SHAPE, 'series', 'direction')
        others = {
            other['method']: other
            for other in rows
            if all(other[name] == row[name] for name in same) and not other['method'].startswith('ours')
        }
        for name in (PUBLICATION, SDPA):
            if name in others:
                add(row, f'time, {name} / {ours}', others[name]['median_ms'], row['median_ms'])
        timed = [other for other in others.values() if other['median_ms']]
        if timed:
            best = min(timed, key=lambda other: other['median_ms'])
            add(row, f'time, fastest other ({best["method"]}) / {ours}', best['median_ms'], row['median_ms'])
        if PUBLICATION in others:
            peak = others[PUBLICATION]['peak_extra_bytes']
            add(row, f'peak extra memory, {PUBLICATION} / {ours}', peak, row['peak_extra_bytes'])
        if row['peak_extra_bytes'] is not None:
            inputs, output_and_lse = needed_bytes(row, itemsize)
            peak = inputs + row['peak_extra_bytes']
            add(row, f'memory, (q, k, v + peak extra) / (q, k, v, o, lse) of {ours}', peak, inputs + output_and_lse)
    scaling = {(row['direction'], row['height']): row for row in mine if row['series'] == SCALING}
    for (direction, height), row in scaling.items():
        small = scaling[direction, min(side for _, side in scaling)]
        if row is not small and row['median_ms'] and small['median_ms']:
            name = f'time per token, {height}x{height} / {small["height"]}x{small["height"]} of {ours}'
            add(row, name, row['median_ms'] / height**2, small['median_ms'] / small['height'] ** 2)
    return result


def needed_bytes(row: dict, itemsize: int) -> tuple[int, int]:
    """Size of q, k and v, and of the output and a float32 log-sum-exp per query, in bytes."""
    heads = row['batch'] * row['heads']
    queries, keys = row['height'] * row['width'], row['num_global_tokens'] + row['height'] * row['width']
    inputs = heads * (queries + 2 * keys) * row['head_dim'] * itemsize
    return inputs, heads * queries * (row['head_dim'] * itemsize + 4)


def write_report(results: dict, folder: Path) -> None:
    """Write ``results.json`` and ``table.md`` and, if matplotlib is there, ``time.png`` and ``memory.png``.

    Args:
        results (dict): ``environment``, ``checks``, ``rows`` and ``ratios`` of a run.
        folder (Path): Where to; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
    (folder / 'table.md').write_text('\n'.join(tables(results)) + '\n')
    if find_spec('matplotlib'):
        plot(results['rows'], 'median_ms', 1, 'time (ms)', folder / 'time.png')
        plot(results['rows'], 'peak_extra_bytes', MIB, 'peak extra memory (MiB)', folder / 'memory.png')


def tables(results: dict) -> list[str]:
    """Write lines of Markdown: the environment, the ratios, and a table for each series of shapes."""
    lines = ['# Sliding-window attention: time and peak extra memory', '']
    lines += [', '.join(f'{name} {value}' for name, value in results['environment'].items()), '']
    lines += ['Median times; memory beyond the inputs, the output and the gradients included.', '']
    if results['ratios']:
        lines += ['## Ratios', '', *ratio_table(results['ratios']), '']
    directions = unique(row['direction'] for row in results['rows'])
    columns = [f'{direction} ({unit})' for unit in ('ms', 'MiB') for direction in directions]
    for series in unique(row['series'] for row in results['rows']):
        lines += [f'## {series}', '', '| batch, heads, d | map | method | ' + ' | '.join(columns) + ' | not run |']
        lines += ['| --- | --- | --- |' + ' --: |' * len(columns) + ' --- |']
        groups = {}
        for row in results['rows']:
            if row['series'] == series:
                groups.setdefault((*(row[name] for name in SHAPE), row['method']), []).append(row)
        for (batch, heads, head_dim, height, width, method), group in groups.items():
            cells = [f'{batch}, {heads}, {head_dim}', f'{height}x{width}', method]
            cells += [number(row['median_ms']) for row in group]
            cells += [number(row['peak_extra_bytes'], MIB) for row in group]
            cells += ['; '.join(f'{row["direction"]}: {row["reason"]}' for row in group if row['reason'])]
            lines.append('| ' + ' | '.join(cells) + ' |')
        lines.append('')
    return lines


def ratio_table(rows: list[dict]) -> list[str]:
    """Write the ratios as a Markdown table."""
    cells = [f'| {row["shape"]} | {row["direction"]} | {row["ratio"]} | {number(row["value"])} |' for row in rows]
    return ['| shape | direction | ratio | value |', '| --- | --- | --- | --: |', *cells]


def number(value: float | None, unit: float = 1) -> str:
    """Write a number in a unit, to three digits, or a dash for none."""
    if value is None:
        return '-'
    value /= unit
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def unique(values: Iterable) -> list:
    """List what occurs, in the order of its first occurrence."""
    return list(dict.fromkeys(values))


def plot(rows: list[dict], key: str, unit: float, label: str, target: Path) -> None:
    """Draw a quantity against the map's side: a row of panels per series, a column per direction.

    Args:
        rows (list[dict]): The results.
        key (str): The quantity's name in a row.
        unit (float): What it is divided by.
        label (str): The quantity's name and unit, for the axis.
        target (Path): The picture to write.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    all_series, directions, methods = (unique(row[name] for row in rows) for name in ('series', 'direction', 'method'))
    drawn = [row for row in rows if row[key]]
    figure, axes = plt.subplots(
        len(all_series),
        len(directions),
        figsize=(12, 4 * len(all_series)),
        sharey='row',
        squeeze=False,
        layout='constrained',
    )
    for i, series in enumerate(all_series):
        sides = sorted({side(row) for row in rows if row['series'] == series})
        for axis, direction in zip(axes[i], directions):
            for color, method in enumerate(methods):
                points = sorted(
                    (side(row), row[key] / unit)
                    for row in drawn
                    if (row['series'], row['direction'], row['method']) == (series, direction, method)
                )
                # Without points here it still has its place in the legend, which is made from one panel
                x, y = zip(*points) if points else ((), ())
                if any(row['method'] == method for row in drawn):
                    axis.plot(x, y, marker='o', color=f'C{color}', label=method)
            axis.set(title=f'{series}: {direction}', xlabel='map side (tokens)', ylabel=label)
            axis.set(xscale='log', yscale='log')
            axis.set_xticks(sides, [f'{value:.0f}' for value in sides])
            axis.set_xticks([], minor=True)
            axis.yaxis.set_major_formatter('{x:g}')
            axis.yaxis.set_minor_formatter(LogFormatter())
            axis.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=3)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def side(row: dict) -> float:
    """Side of the square map of as many tokens."""
    return (row['height'] * row['width']) ** 0.5
