// Draws the report page from the JSON in #data (schema: report_json.cc). Plain SVG, no library; charts
// are drawn to the width they get and again when it changes. Figures are formatted as in format.cc.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const names = data.runtimes.map(r => r.name);
const others = names.filter(n => n !== data.baseline);
const measure = id => data.measures.find(m => m.id === id);
const result = (runtime, id) => data.results.find(r => r.runtime === runtime && r.measure === id);
const runsOf = runtime => data.runs.filter(r => r.runtime === runtime && !r.problem);

const colours = {};
{
  const known = ["graft", "glibc", "own", "jemalloc", "tcmalloc", "mimalloc"];
  let other = 0;
  for (const n of names) colours[n] = `var(--c-${known.includes(n) ? n : "other" + (other++ % 3 + 1)})`;
}

// --- Figures as text -------------------------------------------------------------------------------
const digits = v => v.toFixed(v < 10 ? 2 : v < 100 ? 1 : 0);
function figure(v, unit) {
  if (unit === "s") {
    if (v === 0) return "0 s";
    if (v < 1e-3) return digits(v * 1e6) + " µs";
    return v < 1 ? digits(v * 1e3) + " ms" : digits(v) + " s";
  }
  if (unit === "B") {
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    for (v /= 1024; v >= 1000 && i < 3; i++) v /= 1024;
    return digits(v) + " " + units[i];
  }
  const text = v >= 1e9 ? digits(v / 1e9) + " G" : v >= 1e6 ? digits(v / 1e6) + " M"
    : v >= 1e4 ? digits(v / 1e3) + " k" : Number.isInteger(v) ? String(v) : digits(v);
  return unit === "1/s" ? text + "/s" : text;
}
const ratioText = v => v.toFixed(v < 10 ? 2 : 1);
const shellWord = w => /^[\w@%+=:,.\/-]+$/.test(w) ? w : "'" + w.replaceAll("'", "'\\''") + "'";
const commandText = words => words.map(shellWord).join(" ");

// "good", "bad" or "": is the whole interval on one side of 1?
function verdict(r, m) {
  if (!r || !r.ratio || r.ratio.low === undefined) return "";
  const below = r.ratio.high < 0.995, above = r.ratio.low > 1.005;
  if (!below && !above) return "";
  return below !== m.higher_is_better ? "good" : "bad";
}

// --- Elements --------------------------------------------------------------------------------------
function html(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}
function svg(tag, attributes, text) {
  const e = document.createElementNS("http" + "://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}
function canvas(width, height, label) {
  return svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label});
}
const dot = n => html("span", {class: "dot", style: `background:${colours[n]}`});

// Round steps for an axis from low to high.
function ticks(low, high, most, binary) {
  const raw = (high - low) / most;
  if (!(raw > 0)) return [low];
  const base = binary ? 1024 ** Math.floor(Math.log2(Math.max(high, 1)) / 10) : 1;
  const power = 10 ** Math.floor(Math.log10(raw / base));
  const step = [1, 2, 5, 10].map(f => f * power * base).find(s => s >= raw * 0.999);
  const list = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) list.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return list;
}
// Tick labels need no more digits than the steps have.
function tickText(v, unit, top) {
  if (v === 0) return "0";
  if (unit === "s" && top >= 1) return +v.toPrecision(4) + " s";
  return figure(v, unit).replace(/(\.\d*?)0+(?= |$)/, "$1").replace(/\.(?= |$)/, "");
}

// --- Head ------------------------------------------------------------------------------------------
function drawHead() {
  document.title = "graft compare: " + data.command[0].split("/").pop();
  $("command").textContent = commandText(data.command);
  const n = data.order.length;
  $("lead").append(`${names.join(", ")} in ${n} interleaved round${n === 1 ? "" : "s"}` +
    (data.interrupted ? ` (stopped before all ${data.rounds} were done)` : ""));
  if (data.load) $("lead").append(", each under the load ", html("code", {}, data.load.command));
  $("lead").append(`. Ratios are to ${data.baseline}` +
    (n < 3 ? "; fewer than 3 rounds, so no intervals." : ", with 95 % intervals."));
  const busy = parseFloat(data.machine.load_average.before);
  if (busy > data.machine.cores) {
    $("lead").append(` The machine was busy before it began (load average ${busy} on ${data.machine.cores} cores), so the figures are noisy.`);
  }
  for (const f of data.findings) $("findings").append(html("li", {}, f));
  const wanted = ["wall", "throughput", "cpu", "peak_rss", "average_rss", data.load ? "idle_pss" : "final_rss"];
  for (const id of wanted) {
    const m = measure(id), r = result("graft", id);
    if (!m || !r || !r.ratio || (id === "wall" && measure("throughput"))) continue;
    const interval = r.ratio.low === undefined ? "" : ` (${ratioText(r.ratio.low)} to ${ratioText(r.ratio.high)})`;
    const base = result(data.baseline, id);
    $("cards").append(html("div", {class: "card"},
      html("div", {class: "what"}, `graft's ${m.title}`),
      html("div", {class: "ratio " + verdict(r, m)}, ratioText(r.ratio.median) + " ×"),
      html("div", {class: "detail"}, `${data.baseline}'s${interval}`),
      html("div", {class: "detail"}, `${figure(r.median, m.unit)}, was ${figure(base.median, m.unit)}`)));
  }
}

// --- Memory over time ------------------------------------------------------------------------------
const shown = new Set(names);
let kind = "rss";
function medianRun(runtime) {
  const runs = runsOf(runtime).filter(r => r.values.wall !== undefined && r[kind].t.length > 1);
  runs.sort((a, b) => a.values.wall - b.values.wall);
  return runs[Math.floor((runs.length - 1) / 2)];
}
// A sample holds until the next one.
function valueAt(series, t) {
  let i = -1;
  while (i + 1 < series.t.length && series.t[i + 1] <= t) i++;
  return i < 0 ? undefined : series.bytes[i];
}
function drawTime() {
  const box = $("time"), width = Math.max(300, box.clientWidth), height = width < 560 ? 260 : 380;
  const left = 66, right = 12, top = 10, bottom = 34;
  const runs = data.runs.filter(r => !r.problem && shown.has(r.runtime) && r[kind].t.length > 1);
  box.replaceChildren();
  if (!runs.length) {
    box.append(html("p", {class: "note"}, "Nothing to draw: the runs were too short to be sampled."));
    return;
  }
  const end = Math.max(...runs.map(r => Math.max(r.length, r[kind].t.at(-1))));
  const most = Math.max(...runs.map(r => Math.max(...r[kind].bytes))) * 1.06;
  const x = t => left + t / end * (width - left - right);
  const y = b => height - bottom - b / most * (height - top - bottom);
  const root = canvas(width, height, `${kind.toUpperCase()} over time`);
  for (const v of ticks(0, most, 5, true)) {
    root.append(svg("line", {class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v)}),
      svg("text", {x: left - 8, y: y(v) + 4, "text-anchor": "end"}, tickText(v, "B")));
  }
  for (const v of ticks(0, end, width < 560 ? 4 : 9)) {
    root.append(svg("text", {x: x(v), y: height - bottom + 18, "text-anchor": "middle"}, tickText(v, "s", end)));
  }
  root.append(svg("line", {class: "axis", x1: left, x2: width - right, y1: y(0), y2: y(0)}));
  const bold = new Map([...shown].map(n => [n, medianRun(n)]).filter(([, r]) => r));
  const path = r => r[kind].t.map((t, i) => `${i ? "L" : "M"}${x(t).toFixed(1)} ${y(r[kind].bytes[i]).toFixed(1)}`).join("");
  const line = (r, w, o) => root.append(svg("path", {d: path(r), fill: "none", stroke: colours[r.runtime],
    "stroke-width": w, "stroke-linejoin": "round", opacity: o}));
  for (const r of runs) if (bold.get(r.runtime) !== r) line(r, 1, 0.3);
  for (const n of names) {
    const r = bold.get(n);
    if (!r) continue;
    line(r, 2.4, 1);
    root.append(svg("circle", {cx: x(r[kind].t.at(-1)), cy: y(r[kind].bytes.at(-1)), r: 3.5, fill: colours[n]}));
    if (r.load) {
      const tx = x(r.load.ended);
      root.append(svg("path", {d: `M${tx} ${y(valueAt(r[kind], r.load.ended) || 0) - 9}v18`, stroke: colours[n], "stroke-width": 1.6}));
    }
  }
  const tip = html("div", {class: "tip"}), rule = svg("line", {class: "axis", y1: top, y2: y(0), visibility: "hidden"});
  root.append(rule);
  root.addEventListener("pointermove", e => {
    const at = e.clientX - root.getBoundingClientRect().left;
    const t = (at - left) / (width - left - right) * end;
    if (t < 0 || t > end) return;
    rule.setAttribute("x1", at); rule.setAttribute("x2", at); rule.setAttribute("visibility", "visible");
    tip.replaceChildren(html("b", {}, figure(t, "s")));
    for (const [n, r] of bold) {
      const v = t <= r.length ? valueAt(r[kind], t) : undefined;
      if (v !== undefined) tip.append(html("div", {}, dot(n), `${n} ${figure(v, "B")}`));
    }
    tip.style.display = "block";
    tip.style.top = "10px";
    tip.style.left = Math.min(at + 14, width - tip.offsetWidth - 4) + "px";
    if (at > width / 2) tip.style.left = Math.max(0, at - tip.offsetWidth - 14) + "px";
  });
  root.addEventListener("pointerleave", () => { tip.style.display = "none"; rule.setAttribute("visibility", "hidden"); });
  box.append(root, tip);
}
function drawTimeControls() {
  $("time-note").textContent = "The run with the median time is bold, the others are faint. " +
    (data.load ? "A mark on a bold line is the end of its load; the server is idle from there. " : "") +
    "Click a name to hide it.";
  for (const n of names) {
    const b = html("button", {type: "button", "aria-pressed": "true"}, dot(n), n);
    b.onclick = () => {
      if (!shown.delete(n)) shown.add(n);
      b.setAttribute("aria-pressed", shown.has(n));
      drawTime();
    };
    $("time-legend").append(b);
  }
  for (const k of ["rss", "pss"]) {
    const b = html("button", {type: "button", "aria-pressed": k === kind}, k.toUpperCase());
    b.onclick = () => {
      kind = k;
      for (const c of $("time-tabs").children) c.setAttribute("aria-pressed", c === b);
      drawTime();
    };
    $("time-tabs").append(b);
  }
}

// --- Ratios with their intervals -------------------------------------------------------------------
function drawRatios() {
  const box = $("ratios"), width = Math.max(300, box.clientWidth), narrow = width < 560;
  const rows = data.measures.filter(m => !["minor_faults", "major_faults"].includes(m.id))
    .map(m => ({m, list: others.map(n => [n, result(n, m.id)]).filter(([, r]) => r && r.ratio && r.ratio.median > 0)}))
    .filter(row => row.list.length);
  box.replaceChildren();
  if (!rows.length) return;
  const step = 16, gap = 12, left = narrow ? 92 : 130, right = narrow ? 12 : 150, top = 24;
  const values = rows.flatMap(row => row.list.flatMap(([, r]) => [r.ratio.median, r.ratio.low, r.ratio.high]))
    .filter(v => v > 0);
  const low = Math.max(0.1, Math.min(0.9, ...values) * 0.97), high = Math.min(10, Math.max(1.1, ...values) * 1.03);
  const x = v => left + Math.log(Math.min(high, Math.max(low, v)) / low) / Math.log(high / low) * (width - left - right);
  const height = top + rows.reduce((h, row) => h + row.list.length * step + gap, 0);
  const root = canvas(width, height, "ratios to " + data.baseline);
  let last = -1e9;
  const marks = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10];
  for (const v of marks.filter(v => v >= low && v <= high)) {
    root.append(svg("line", {class: v === 1 ? "one" : "grid", x1: x(v), x2: x(v), y1: top - 6, y2: height}));
    if (v !== 1 && (x(v) - last < 34 || Math.abs(x(v) - x(1)) < 30)) continue;
    root.append(svg("text", {x: x(v), y: 12, "text-anchor": "middle"}, v === 1 ? "1 ×" : v));
    last = x(v);
  }
  let y = top;
  for (const {m, list} of rows) {
    root.append(svg("text", {class: "name", x: 0, y: y + list.length * step / 2 + 4}, m.title));
    for (const [n, r] of list) {
      y += step;
      const cy = y - step / 2, q = r.ratio;
      const bar = svg("g", {});
      bar.append(svg("title", {}, `${n}: ${m.title} ${ratioText(q.median)}` +
        (q.low === undefined ? "" : ` (${ratioText(q.low)} to ${ratioText(q.high)})`)));
      if (q.low !== undefined) {
        bar.append(svg("line", {x1: x(q.low), x2: x(q.high), y1: cy, y2: cy, stroke: colours[n], "stroke-width": 3,
          "stroke-linecap": "round", opacity: .45}));
      }
      bar.append(svg("circle", {cx: x(q.median), cy, r: 4.2, fill: colours[n]}));
      root.append(bar);
      if (!narrow) {
        root.append(svg("text", {x: width - right + 14, y: cy + 4}, `${ratioText(q.median)}  ${n}`));
      }
    }
    y += gap;
  }
  box.append(root);
  const legend = html("div", {class: "legend"});
  for (const n of others) legend.append(html("span", {class: "note", style: "margin:0 10px 0 0"}, dot(n), n));
  if (narrow) box.append(legend);
  $("ratio-note").textContent = `Median of the ratios to ${data.baseline} in the same round, logarithmic. ` +
    (values.length && data.order.length >= 3 ? "The bar is the 95 % interval. " : "") +
    "Left of the dashed line is less: better for all but throughput.";
}

// --- Every run -------------------------------------------------------------------------------------
function drawStrips() {
  $("strips").replaceChildren();
  const wanted = ["wall", "throughput", "cpu", "peak_rss", "average_rss", "final_rss", "idle_rss", "idle_pss"];
  for (const id of wanted) {
    const m = measure(id);
    if (!m) continue;
    const box = html("div", {}, html("h3", {}, m.title + " ", html("small", {}, m.higher_is_better ? "more is better" : "")));
    $("strips").append(box);
    const width = Math.max(280, box.clientWidth), left = 78, right = 16, row = 24, top = 4;
    const height = top + names.length * row + 24;
    const all = data.runs.map(r => r.values[id]).filter(v => v !== undefined);
    let low = Math.min(...all), high = Math.max(...all);
    const pad = Math.max((high - low) * 0.06, high * 0.01, 1e-9);
    low = Math.max(0, low - pad); high += pad;
    const x = v => left + (v - low) / (high - low) * (width - left - right);
    const root = canvas(width, height, m.title);
    for (const v of ticks(low, high, 4, m.unit === "B")) {
      root.append(svg("line", {class: "grid", x1: x(v), x2: x(v), y1: top, y2: height - 22}),
        svg("text", {x: x(v), y: height - 6, "text-anchor": "middle"}, tickText(v, m.unit, high)));
    }
    names.forEach((n, i) => {
      const cy = top + i * row + row / 2, s = result(n, id);
      root.append(svg("text", {class: "name", x: left - 10, y: cy + 4, "text-anchor": "end"}, n));
      if (!s) return;
      if (s.n >= 3) {
        root.append(svg("rect", {x: x(s.q1), y: cy - 7, width: Math.max(1, x(s.q3) - x(s.q1)), height: 14, rx: 3,
          fill: colours[n], opacity: .2}));
      }
      runsOf(n).filter(r => r.values[id] !== undefined).forEach((r, k) => {
        const c = svg("circle", {cx: x(r.values[id]), cy: cy + ((k * 5) % 7 - 3) * 1.1, r: 3.1, fill: colours[n], opacity: .75});
        c.append(svg("title", {}, `${n}, round ${r.round + 1}: ${figure(r.values[id], m.unit)}`));
        root.append(c);
      });
      root.append(svg("line", {x1: x(s.median), x2: x(s.median), y1: cy - 10, y2: cy + 10, stroke: colours[n], "stroke-width": 2.2}));
    });
    box.append(root);
  }
}

// --- Table and method ------------------------------------------------------------------------------
function drawTable() {
  const head = html("tr", {}, html("th", {}, ""));
  for (const n of names) head.append(html("th", {}, dot(n), n));
  const body = html("tbody", {});
  for (const m of data.measures) {
    if (data.results.every(r => r.measure !== m.id || r.max === 0)) continue;
    const row = html("tr", {}, html("td", {title: m.meaning}, m.title));
    for (const n of names) {
      const r = result(n, m.id), cell = html("td", {});
      if (r) {
        cell.append(figure(r.median, m.unit));
        if (r.ratio) cell.append(" ", html("span", {class: "pill " + verdict(r, m)}, ratioText(r.ratio.median)));
        let detail = r.n >= 3 ? `${figure(r.q1, m.unit)} … ${figure(r.q3, m.unit)}` : "";
        cell.append(html("small", {}, detail));
        if (r.ratio && r.ratio.low !== undefined) {
          cell.append(html("small", {}, `× ${ratioText(r.ratio.low)} … ${ratioText(r.ratio.high)}`));
        }
      } else {
        cell.append("–");
      }
      row.append(cell);
    }
    body.append(row);
  }
  $("table").append(html("table", {}, html("thead", {}, head), body));
  $("table-note").textContent = `Medians and quartiles; beside them the ratio to ${data.baseline}` +
    (data.order.length >= 3 ? ", below its 95 % interval. Coloured where the whole interval is on one side of 1." : ".");
}
function drawHow() {
  const add = (term, ...what) => $("how").append(html("dt", {}, term), html("dd", {}, ...what));
  const m = data.machine, code = t => html("code", {}, t);
  add("Program", code(commandText(data.command)));
  if (data.load) {
    add("Load", code(data.load.command), ` once 127.0.0.1:${data.load.port} accepts; then ${data.load.idle_s} s idle, then SIGTERM. ` +
      "The load runs without any preload. Time is the load's; memory and CPU are the server's.");
  }
  for (const r of data.runtimes) {
    add(r.name, r.version ? r.version + ", " : "", code(r.library ? "LD_PRELOAD=" + r.library : "nothing preloaded"),
      ...(r.name === "graft" && data.graft_options.length ? [" ", code(data.graft_options.join(" "))] : []));
  }
  if (data.environment.length) add("Environment", code(data.environment.join(" ")));
  add("Order", `${data.warmup} warm-up round${data.warmup === 1 ? "" : "s"}, then ${data.order.length} of ${data.rounds} measured. Each runs every runtime once, rotated: ` +
    data.order.slice(0, names.length).map(o => o.join(" ")).join(" | ") + (data.order.length > names.length ? " | …" : ""));
  add("Machine", `${m.cpu || "unknown processor"}, ${m.cores} core${m.cores === 1 ? "" : "s"}, ${figure(m.memory, "B")} memory, Linux ${m.kernel}, transparent huge pages: ${m.huge_pages || "none"}`);
  add("Load average", `${m.load_average.before} before, ${m.load_average.after} after`);
  const period = p => p ? `every ${figure(p.median, "s")} (at most ${figure(p.longest, "s")})` : "not often enough for a period";
  add("Sampling", `over all processes of the program: RSS from /proc/PID/statm ${period(data.sampling.rss_period)}, ` +
    `PSS from smaps_rollup ${period(data.sampling.pss_period)}. A look takes at most 2 % of the time.`);
  add("Time, faults", "from wait4() of every process, orphans too.");
  add("Statistics", "Medians of runs. A ratio is the median of the ratios within rounds; its interval is a percentile bootstrap (4000 resamples, fixed seed) of that median.");
  add("When", `${data.started} to ${data.ended}`);
}

// --- Everything ------------------------------------------------------------------------------------
drawHead();
drawTimeControls();
drawTable();
drawHow();
function redraw() { drawTime(); drawRatios(); drawStrips(); }
redraw();
let drawnAt = innerWidth;
addEventListener("resize", () => { if (innerWidth !== drawnAt) { drawnAt = innerWidth; redraw(); } });
