/* The charts of studies and of explanations, for `charts.js` to draw: history, parallel coordinates, importances, slices, waterfall. */
"use strict";
(() => {
  const { kinds, base, css, color, number, ticks, powers, escape } = window.tiltyardCharts;
  const WORDS = { complete: "complete", pruned: "pruned", fail: "failed", running: "running", waiting: "waiting" };
  const digits = (value) => (value === null || value === undefined || Number.isInteger(value) ? 0 : Math.abs(value) >= 100 ? 2 : 4);
  const figure = (value) => (typeof value === "number" ? (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(2).replace("-", "−") : number(value, digits(value))) : value === null || value === undefined ? "–" : String(value));
  const named = (data) => (data.unit ? `${data.metric}, ${["%", "as a fraction"].includes(data.unit) ? "" : "in "}${data.unit}` : data.metric);
  const narrow = () => document.documentElement.clientWidth < 640;
  const told = (data, trial) => `<b>Trial ${trial.number}</b>, ${WORDS[trial.state]}<br>${escape(data.metric)}: <b>${figure(trial.value)}</b> ${escape(data.unit)}` + (trial.params || []).map((value, place) => `<br>${escape(data.params[place].name)}: ${escape(figure(value))}`).join("");
  const valued = (data) => data.trials.filter((trial) => trial.value !== null);
  const searched = (data) => valued(data).filter((trial) => trial.params);
  const nothing = (text) => ({ graphic: { type: "text", left: "center", top: "middle", style: { text, fill: css("--ty-soft"), fontSize: 13 } } });

  kinds.history = {
    option(data) {
      const { option, axis } = base();
      const shown = valued(data), maximize = data.direction === "maximize";
      let best = null;
      const line = [];
      for (const trial of shown) {
        if (trial.state === "complete" && (best === null || (maximize ? trial.value > best : trial.value < best))) best = trial.value;
        if (best !== null) line.push([trial.number, best]);
      }
      const points = (state) => shown.filter((trial) => trial.state === state).map((trial) => ({ value: [trial.number, trial.value], trial }));
      return {
        ...option, ...(shown.length ? {} : nothing("No trial has a value so far.")),
        grid: { left: 66, right: 24, top: 60, bottom: 46 },
        xAxis: { type: "value", name: "trial", nameLocation: "middle", nameGap: 28, ...axis, min: 0, max: Math.max(data.total - 1, 1), minInterval: 1, splitLine: { show: false } },
        yAxis: { type: "value", name: `${named(data)} (${maximize ? "higher" : "lower"} is better)`, nameTextStyle: { ...axis.nameTextStyle, align: "left", padding: [0, 0, 8, -54] }, scale: true, axisLabel: { ...axis.axisLabel, formatter: ticks(shown.map((trial) => trial.value)) }, splitLine: axis.splitLine },
        tooltip: { ...option.tooltip, trigger: "item", formatter: (point) => (point.data.trial ? told(data, point.data.trial) : `best up to trial ${point.value[0]}: <b>${figure(point.value[1])}</b>`) },
        series: [
          { name: "complete", type: "scatter", symbolSize: 8, itemStyle: { color: color(0), opacity: 0.8 }, data: points("complete") },
          { name: "pruned", type: "scatter", symbol: "triangle", symbolSize: 8, itemStyle: { color: color(9), opacity: 0.8 }, data: points("pruned") },
          { name: "best so far", type: "line", step: "end", symbol: "none", itemStyle: { color: color(2) }, lineStyle: { width: 2 }, data: line },
        ],
      };
    },
    table(data) {
      return { head: ["Trial", "State", named(data), ...data.params.map((one) => one.name)], rows: data.trials.map((trial) => [trial.number, WORDS[trial.state], trial.value, ...(trial.params || data.params.map(() => null))]), digits: 4 };
    },
  };

  /* Every axis from 0 to 1: what is searched on a logarithmic scale is drawn on one. */
  function axes(data) {
    const shown = searched(data);
    const axis = (name, scale) => ({ name, ...scale });
    const made = data.params.map((one, place) => {
      if (one.choices) {
        const last = Math.max(one.choices.length - 1, 1);
        return axis(one.name, { ends: [one.choices[0], one.choices[one.choices.length - 1]], at: (trial) => Math.max(one.choices.indexOf(String(trial.params[place])), 0) / last });
      }
      const grow = one.log ? Math.log : (value) => value;
      const span = grow(one.high) - grow(one.low) || 1;
      return axis(one.name, { ends: [one.low, one.high], at: (trial) => (trial.params[place] === null ? null : (grow(trial.params[place]) - grow(one.low)) / span) });
    });
    const values = shown.map((trial) => trial.value);
    const low = Math.min(...values), high = Math.max(...values);
    made.push(axis(data.metric, { ends: [low, high], at: (trial) => (high > low ? (trial.value - low) / (high - low) : 0.5) }));
    return made;
  }

  kinds.parallel = {
    option(data) {
      const { option, axis, text, soft } = base();
      const shown = searched(data), lines = axes(data), upright = narrow(), sign = data.direction === "maximize" ? -1 : 1;
      const ranked = [...shown].sort((one, other) => sign * (one.value - other.value));
      const complete = ranked.filter((trial) => trial.state === "complete");
      const best = new Set(complete.slice(0, Math.max(1, Math.round(complete.length / 10))).map((trial) => trial.number));
      const names = { type: "category", boundaryGap: false, data: lines.map((one) => (shown.length ? `${one.name}\n${figure(one.ends[0])} … ${figure(one.ends[1])}` : one.name)), axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: true, lineStyle: { color: css("--ty-line-strong") } }, axisLabel: { color: text, fontSize: 11.5, lineHeight: 15, interval: 0, rotate: upright ? 0 : lines.length > 7 ? 20 : 0, width: upright ? 108 : undefined, overflow: "truncate" } };
      const scale = { type: "value", min: 0, max: 1, show: false };
      return {
        ...option, ...(shown.length ? {} : nothing("Trials with a value stand here as lines.")),
        legend: { ...option.legend, data: ["best tenth of the complete", "others"] },
        grid: upright ? { left: 120, right: 18, top: 40, bottom: 14 } : { left: 70, right: 70, top: 44, bottom: lines.length > 7 ? 76 : 48 },
        xAxis: upright ? scale : names, yAxis: upright ? { ...names, inverse: true } : scale,
        tooltip: { ...option.tooltip, trigger: "item", formatter: (point) => told(data, point.data.trial) },
        series: [...ranked].reverse().map((trial) => {
          const good = best.has(trial.number);
          return { name: good ? "best tenth of the complete" : "others", type: "line", symbol: "circle", symbolSize: good ? 6 : 4, itemStyle: { color: good ? color(2) : soft }, z: good ? 3 : 2,
            lineStyle: { width: good ? 2.4 : 1, opacity: good ? 1 : 0.4, type: trial.state === "pruned" ? "dashed" : "solid" }, emphasis: { lineStyle: { width: 3, opacity: 1 } },
            data: lines.map((one, place) => ({ value: upright ? [one.at(trial), place] : one.at(trial), trial })) };
        }),
      };
    },
    height: () => (narrow() ? 420 : 340),
    turned: narrow,
    table: (data) => ({ head: ["Trial", "State", ...data.params.map((one) => one.name), named(data)], rows: searched(data).map((trial) => [trial.number, WORDS[trial.state], ...trial.params, trial.value]), digits: 4 }),
  };

  kinds.slices = {
    choices: (data) => data.params.map((one) => one.name),
    option(data, chosen) {
      const { option, axis } = base();
      const param = data.params[chosen], shown = param ? searched(data) : [];
      const points = (state) => shown.filter((trial) => trial.state === state).map((trial) => ({ value: [param.choices ? String(trial.params[chosen]) : trial.params[chosen], trial.value], trial }));
      const across = param && param.choices ? { type: "category", data: param.choices } : { type: param && param.log ? "log" : "value", min: param ? param.low : 0, max: param ? param.high : 1 };
      return {
        ...option, ...(shown.length ? {} : nothing("Trials with a value stand here as points.")),
        grid: { left: 66, right: 28, top: 60, bottom: 46 },
        xAxis: { ...across, name: param ? `${param.name}${param.log ? " (logarithmic)" : ""}` : "", nameLocation: "middle", nameGap: 28, ...axis, splitLine: { show: false }, axisLabel: { ...axis.axisLabel, ...(param && !param.choices ? { formatter: param.log ? powers : ticks([param.low, param.high]) } : {}), hideOverlap: true } },
        yAxis: { type: "value", name: named(data), nameTextStyle: { ...axis.nameTextStyle, align: "left", padding: [0, 0, 8, -54] }, scale: true, axisLabel: { ...axis.axisLabel, formatter: ticks(shown.map((trial) => trial.value)) }, splitLine: axis.splitLine },
        tooltip: { ...option.tooltip, trigger: "item", formatter: (point) => told(data, point.data.trial) },
        series: [
          { name: "complete", type: "scatter", symbolSize: 9, itemStyle: { color: color(0), opacity: 0.75 }, data: points("complete") },
          { name: "pruned", type: "scatter", symbol: "triangle", symbolSize: 9, itemStyle: { color: color(9), opacity: 0.75 }, data: points("pruned") },
        ],
      };
    },
    table(data, chosen) {
      const name = data.params[chosen] ? data.params[chosen].name : "Parameter";
      return { head: ["Trial", "State", name, named(data)], rows: searched(data).map((trial) => [trial.number, WORDS[trial.state], trial.params[chosen], trial.value]), digits: 4 };
    },
  };

  function bars(rows, { unit, decimals, hue }) {
    const { option, axis, text } = base();
    const shown = [...rows].reverse();
    return {
      ...option, legend: { show: false },
      grid: { left: 16, right: 64, top: 14, bottom: 40, containLabel: true },
      xAxis: { type: "value", min: 0, name: unit, nameLocation: "middle", nameGap: 26, ...axis },
      yAxis: { type: "category", data: shown.map((row) => row[0]), ...axis, axisLabel: { color: text, fontSize: 12.5, width: narrow() ? 120 : 260, overflow: "truncate" } },
      tooltip: { ...option.tooltip, formatter: (point) => `<b>${escape(point.name)}</b>: ${number(point.value, decimals)} ${escape(unit)}` },
      series: [{ type: "bar", barMaxWidth: 16, itemStyle: { color: color(hue), borderRadius: 2 }, data: shown.map((row) => row[1]), label: { show: true, position: "right", color: text, fontSize: 11.5, formatter: (point) => `${number(point.value, decimals)} %` } }],
    };
  }
  const tall = (rows) => Math.max(170, 62 + 26 * rows);

  kinds.influence = {
    height: (data) => tall(data.importances.length),
    option: (data) => (data.importances.length ? bars(data.importances.map((one) => [one.name, 100 * one.share]), { unit: "share of what the parameters explain (%)", decimals: 1, hue: 5 }) : { ...base().option, ...nothing(data.importances_missing), series: [] }),
    table: (data) => ({ head: ["Parameter", "Share (%)"], rows: data.importances.map((one) => [one.name, 100 * one.share]), digits: 1 }),
  };

  kinds.importance = {
    height: (data) => tall(data.shown.length),
    option: (data) => bars(data.shown.map((one) => [one.feature, 100 * one.importance]), { unit: data.unit, decimals: 1, hue: 0 }),
    table: (data) => ({ head: ["Feature", "Share (%)"], rows: data.all.map((one) => [one.feature, 100 * one.importance]), digits: 2 }),
  };

  /* Each step stands on an invisible bar; both totals are marks, for a bar of theirs would seem to begin at zero. A stacked bar cannot cross
     zero, so everything is drawn from a round number below the lowest point and labeled as it is. */
  kinds.waterfall = {
    height: (data) => tall(data.steps.length),
    option(data) {
      const { option, axis, text } = base();
      const steps = [...data.steps].reverse();
      const ends = data.steps.flatMap((step) => [step.from, step.to]);
      const low = Math.min(...ends), high = Math.max(...ends), room = (high - low) * 0.12 || 1;
      const round = 10 ** Math.floor(Math.log10(high - low || 1)), start = Math.floor((low - room) / round) * round, mark = (high - low || 1) * 0.008;
      const up = css("--ty-c1"), down = css("--ty-c0"), flat = css("--ty-soft");
      const said = (step) => (step.total ? figure(step.to) : `${step.to >= step.from ? "▲ +" : "▼ "}${figure(step.to - step.from)}`);
      return {
        ...option, legend: { show: false },
        grid: { left: 18, right: 70, top: 14, bottom: 44, containLabel: true },
        xAxis: { type: "value", min: 0, max: high + room - start, name: data.unit, nameLocation: "middle", nameGap: 28, ...axis, axisLabel: { ...axis.axisLabel, formatter: (value) => figure(Number((value + start).toPrecision(4))), hideOverlap: true } },
        yAxis: { type: "category", data: steps.map((step) => step.label), ...axis, axisLabel: { color: text, fontSize: 12.5, width: narrow() ? 130 : 300, overflow: "truncate" } },
        tooltip: { ...option.tooltip, formatter: (point) => { const step = steps[point.dataIndex]; return `<b>${escape(step.label)}</b><br>${escape(said(step))}<br>${step.total ? "" : `from ${figure(step.from)} to ${figure(step.to)}`}`; } },
        series: [
          { type: "bar", stack: "fall", silent: true, itemStyle: { color: "transparent" }, tooltip: { show: false }, data: steps.map((step) => (step.total ? step.to - mark / 2 : Math.min(step.from, step.to)) - start) },
          { type: "bar", stack: "fall", barMaxWidth: 16, data: steps.map((step) => ({ value: step.total ? mark : Math.abs(step.to - step.from), itemStyle: { color: step.total ? flat : step.to >= step.from ? up : down, borderRadius: 2 } })), label: { show: true, position: "right", color: text, fontSize: 11.5, formatter: (point) => said(steps[point.dataIndex]) } },
        ],
      };
    },
    table: (data) => ({ head: ["Step", "Contribution", "From", "To"], rows: data.steps.map((step) => [step.label, step.total ? null : step.to - step.from, step.from, step.to]), digits: 4 }),
  };
})();
