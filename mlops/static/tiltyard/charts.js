/* Draws the figures of a page with ECharts: data from the JSON beside each figure, colors from the stylesheet, a table and downloads from the same data. */
"use strict";
(() => {
  const locale = "en-US"; // as in tiltyard.js
  const drawn = [];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const color = (number) => css(`--ty-c${number}`);
  const number = (value, digits) =>
    value === null || value === undefined ? "–" : new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value).replace("-", "−");
  /* How the ticks of an axis over these values are written: each with the digits that tell them apart. */
  function ticks(values) {
    const known = values.filter((value) => typeof value === "number");
    const step = (Math.max(...known) - Math.min(...known)) / 5;
    const digits = step > 0 && Number.isFinite(step) ? Math.min(Math.max(-Math.floor(Math.log10(step)), 0), 8) : 2;
    return (value) => number(value, digits);
  }
  /* The same for a logarithmic axis, whose ticks differ in size. */
  const powers = (value) => new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 }).format(value);
  const day = (text) => new Date(`${text}T12:00:00`).toLocaleDateString(locale, { day: "numeric", month: "short", year: "numeric" });
  const short = (text) => new Date(`${text}T12:00:00`).toLocaleDateString(locale, { day: "numeric", month: "short" });
  const escape = (text) => String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

  function base() {
    const soft = css("--ty-soft"), line = css("--ty-line"), text = css("--ty-text");
    const axis = { axisLine: { lineStyle: { color: css("--ty-line-strong") } }, axisTick: { show: false }, axisLabel: { color: soft, fontSize: 12 }, nameTextStyle: { color: soft, fontSize: 12 }, splitLine: { lineStyle: { color: line } } };
    const reduced = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    return {
      soft, line, text, axis,
      option: {
        animation: !reduced, animationDuration: 300, textStyle: { fontFamily: "Inter, sans-serif" }, aria: { enabled: false },
        legend: { top: 4, right: 12, itemWidth: 18, itemHeight: 10, textStyle: { color: text, fontSize: 12.5 } },
        tooltip: { confine: true, backgroundColor: css("--ty-raised"), borderColor: css("--ty-line-strong"), textStyle: { color: text, fontSize: 12.5 }, extraCssText: "border-radius:8px" },
      },
    };
  }

  const kinds = {};

  kinds.daily = {
    choices: (data) => data.metrics.map((metric) => metric.label),
    option(data, chosen) {
      const { option, axis, soft } = base();
      const metric = data.metrics[chosen];
      const marks = data.marks.map((mark) => ({ xAxis: mark.day, label: { formatter: mark.label, position: "end", distance: 4 } }));
      return {
        ...option,
        grid: { left: 56, right: 24, top: 64, bottom: 32 },
        xAxis: { type: "category", data: data.days, ...axis, boundaryGap: false, axisLabel: { ...axis.axisLabel, formatter: short, hideOverlap: true } },
        yAxis: { type: "value", name: `${metric.label} (${metric.unit})`, nameLocation: "end", nameTextStyle: { ...axis.nameTextStyle, align: "left", padding: [0, 0, 8, -44] }, min: metric.zero ? 0 : undefined, scale: !metric.zero, ...{ axisLabel: { ...axis.axisLabel, formatter: ticks([...(metric.zero ? [0] : []), ...data.versions.flatMap((version) => version.values[metric.name])]) }, splitLine: axis.splitLine } },
        tooltip: { ...option.tooltip, trigger: "axis", formatter: (points) => `<b>${escape(day(points[0].axisValue))}</b><br>` + points.map((point) => `${point.marker} ${escape(point.seriesName)}: <b>${number(point.value, metric.digits)}</b> ${escape(metric.unit)}`).join("<br>") },
        series: data.versions.map((version, place) => ({
          name: version.label, type: "line", data: version.values[metric.name], symbol: place ? "rect" : "circle", symbolSize: 5, showSymbol: false,
          lineStyle: { width: 2, type: place ? "solid" : [6, 3] }, itemStyle: { color: color(version.color) }, connectNulls: false,
          markLine: place ? undefined : { silent: true, symbol: "none", lineStyle: { color: soft, type: "dotted", width: 1.5 }, label: { color: soft, fontSize: 11.5 }, data: [...marks, ...(metric.nominal ? [{ yAxis: metric.nominal, label: { formatter: `nominal ${metric.nominal} %`, position: "insideStartTop" } }] : [])] },
        })),
      };
    },
    table(data) {
      const head = ["Day", ...data.versions.flatMap((version) => data.metrics.map((metric) => `${version.label} ${metric.label} (${metric.unit})`))];
      const rows = data.days.map((one, place) => [one, ...data.versions.flatMap((version) => data.metrics.map((metric) => version.values[metric.name][place]))]);
      return { head, rows, digits: 3 };
    },
  };

  kinds.segments = {
    choices: (data) => data.columns.map((column) => column.name),
    height: (data, chosen) => Math.max(190, 86 + 26 * data.columns[chosen].rows.length),
    option(data, chosen) {
      const { option, axis, soft, text } = base();
      const rows = [...data.columns[chosen].rows].reverse();
      const worse = css("--ty-bad"), better = css("--ty-good");
      const label = (row) => (row.change === null ? "no value" : `${row.change > 0 ? "+" : ""}${number(row.change, 1)} % ${row.change > data.tolerance ? "worse, beyond the limit" : row.change > 0 ? "worse" : "better"}`);
      const reach = Math.max(data.tolerance * 1.5, ...rows.map((row) => Math.abs(row.change || 0)));
      return {
        ...option,
        legend: { show: false },
        grid: { left: 8, right: 28, top: 26, bottom: 40, containLabel: true },
        xAxis: { type: "value", name: "change of MAE against the champion (%)", nameLocation: "middle", nameGap: 26, ...axis, min: -Math.ceil(reach * 1.55), max: Math.ceil(reach * 1.55), axisLabel: { ...axis.axisLabel, hideOverlap: true } },
        yAxis: { type: "category", data: rows.map((row) => row.name), ...axis, axisLabel: { color: text, fontSize: 12.5 } },
        tooltip: { ...option.tooltip, formatter: (point) => { const row = rows[point.dataIndex]; return `<b>${escape(row.name)}</b><br>${escape(data.candidate.label)}: MAE <b>${number(row.candidate, 3)}</b><br>${escape(data.champion.label)}: MAE <b>${number(row.champion, 3)}</b><br>${escape(label(row))}<br>${number(row.n, 0)} series-days`; } },
        series: [{
          type: "bar", barMaxWidth: 15, data: rows.map((row) => ({ value: row.change, itemStyle: { color: row.change > 0 ? worse : better, opacity: row.change > data.tolerance ? 1 : 0.62, borderRadius: 2 }, label: { position: row.change > 0 ? "right" : "left" } })),
          label: { show: true, color: text, fontSize: 11.5, formatter: (point) => { const row = rows[point.dataIndex]; return row.change === null ? "no value" : `${row.change > 0 ? "▲ +" : "▼ "}${number(row.change, 1)} %`; } },
          markLine: { silent: true, symbol: "none", lineStyle: { color: soft, type: "dotted", width: 1.5 }, label: { color: soft, fontSize: 11.5, formatter: `limit +${data.tolerance} %`, position: "end", distance: 2 }, data: [{ xAxis: data.tolerance }] },
        }],
      };
    },
    table(data, chosen) {
      const head = [data.columns[chosen].name, `${data.candidate.label} MAE (units)`, `${data.champion.label} MAE (units)`, "Change (%)", "Series-days"];
      return { head, rows: data.columns[chosen].rows.map((row) => [row.name, row.candidate, row.champion, row.change, row.n]), digits: 3 };
    },
  };

  kinds.errors = {
    option(data) {
      const { option, axis, soft } = base();
      return {
        ...option,
        grid: { left: 56, right: 20, top: 66, bottom: 44 },
        xAxis: { type: "value", name: "forecast − actual (units)", nameLocation: "middle", nameGap: 28, ...axis, splitLine: { show: false } },
        yAxis: { type: "value", name: "share of series-days per unit (%)", nameTextStyle: { ...axis.nameTextStyle, align: "left", padding: [0, 0, 8, -44] }, min: 0, axisLine: { onZero: false, show: false }, axisLabel: axis.axisLabel, splitLine: axis.splitLine },
        tooltip: { ...option.tooltip, trigger: "axis", formatter: (points) => `<b>error around ${number(points[0].value[0], 1)} units</b><br>` + points.map((point) => `${point.marker} ${escape(point.seriesName)}: <b>${number(point.value[1], 2)}</b> % per unit`).join("<br>") },
        series: data.versions.map((version, place) => ({
          name: version.label, type: "line", step: "middle", symbol: "none", itemStyle: { color: color(version.color) }, lineStyle: { width: 2, type: place ? "solid" : [6, 3] }, areaStyle: { opacity: 0.07 },
          data: version.shares.map((share, bin) => [(version.edges[bin] + version.edges[bin + 1]) / 2, share]),
          markLine: place ? undefined : { silent: true, symbol: "none", lineStyle: { color: soft, type: "dotted" }, label: { color: soft, fontSize: 11.5, formatter: "no error", position: "end", distance: 2 }, data: [{ xAxis: 0 }] },
        })),
      };
    },
    table(data) {
      const rows = data.versions.flatMap((version) => version.counts.map((count, bin) => [version.label, version.edges[bin], version.edges[bin + 1], count, version.shares[bin]]));
      return { head: ["Version", "From (units)", "To (units)", "Series-days", "Share per unit (%)"], rows, digits: 2 };
    },
  };

  function fillTable(place, { head, rows, digits }) {
    const table = document.createElement("table");
    table.className = "ty-table";
    const top = table.createTHead().insertRow();
    head.forEach((name) => { const cell = document.createElement("th"); cell.scope = "col"; cell.textContent = name; top.append(cell); });
    const body = table.createTBody();
    rows.forEach((row) => {
      const line = body.insertRow();
      row.forEach((value, column) => {
        const cell = column ? line.insertCell() : document.createElement("th");
        if (!column) { cell.scope = "row"; line.append(cell); }
        cell.textContent = typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : digits) : value === null ? "–" : value;
        if (typeof value === "number") cell.className = "ty-right";
      });
    });
    place.replaceChildren(table);
  }

  /* A spreadsheet takes a cell that begins with one of these for a formula; numbers stay numbers. */
  function csvCell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function save(name, url) {
    const link = document.createElement("a");
    link.download = name;
    link.href = url;
    link.click();
  }

  function button(label, act) {
    const node = document.createElement("button");
    node.type = "button";
    node.textContent = label;
    node.addEventListener("click", act);
    return node;
  }

  function figure(node) {
    let data = JSON.parse(document.getElementById(node.dataset.source).textContent);
    const kind = kinds[node.dataset.chart];
    const canvas = node.querySelector(".ty-canvas"), tools = node.querySelector(".ty-tools"), numbers = node.querySelector(".ty-numbers");
    const title = node.querySelector("h3").textContent;
    const state = { chosen: 0 };
    canvas.classList.remove("ty-skeleton");
    if (kind.height) canvas.style.height = `${kind.height(data, 0)}px`;
    const chart = echarts.init(canvas, null, { renderer: "canvas" });
    const draw = () => {
      if (kind.height) { canvas.style.height = `${kind.height(data, state.chosen)}px`; chart.resize(); }
      chart.setOption(kind.option(data, state.chosen), true);
      fillTable(numbers, kind.table(data, state.chosen));
    };
    const choices = kind.choices ? kind.choices(data) : [];
    if (choices.length > 1) {
      const buttons = choices.map((label, place) => button(label, () => { state.chosen = place; buttons.forEach((one, number) => one.setAttribute("aria-pressed", String(number === place))); draw(); }));
      buttons.forEach((one, place) => { one.setAttribute("aria-pressed", String(place === 0)); tools.append(one); });
    }
    const png = button("PNG", () => save(`${node.dataset.name}.png`, chart.getDataURL({ pixelRatio: 2, backgroundColor: css("--ty-raised") })));
    png.setAttribute("aria-label", `Download ${title} as PNG`);
    const csv = button("CSV", () => {
      const { head, rows } = kind.table(data, state.chosen);
      const text = [head, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n");
      save(`${node.dataset.name}.csv`, URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" })));
    });
    csv.setAttribute("aria-label", `Download ${title} as CSV`);
    tools.append(png, csv);
    draw();
    drawn.push(draw);
    node.addEventListener("tiltyard:data", (event) => { data = event.detail; draw(); });
    let turned = kind.turned && kind.turned();
    new ResizeObserver(() => {
      chart.resize();
      if (kind.turned && kind.turned() !== turned) { turned = kind.turned(); draw(); }
    }).observe(canvas);
  }

  /* Pages with charts of their own add their kinds before the document is loaded. */
  window.tiltyardCharts = { kinds, base, css, color, number, ticks, powers, escape };
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".ty-chart").forEach(figure));
  new MutationObserver(() => drawn.forEach((draw) => draw())).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();
