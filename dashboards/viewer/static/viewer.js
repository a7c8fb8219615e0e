// Draws the charts and keeps an open page fresh. Every page reads without this: each chart has a table beside it.
const plots = new Map();

const TRIM = { maximumSignificantDigits: 3 };
const UNITS = {
  rate: (value) => `${value.toLocaleString("en", TRIM)}/s`,
  share: (value) => `${(value * 100).toLocaleString("en", TRIM)} %`,
  count: (value) => value.toLocaleString("en"),
  plain: (value) => value.toLocaleString("en", Number.isInteger(value) ? {} : TRIM),
  size: (value) => {
    const power = Math.max(0, Math.min(4, Math.floor(Math.log2(Math.abs(value) || 1) / 10)));
    return `${(value / 1024 ** power).toLocaleString("en", TRIM)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
  },
  duration: (value) => {
    const [size, unit] = [[6e10, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([size]) => value >= size) ?? [1, "ns"];
    return `${(value / size).toLocaleString("en", TRIM)} ${unit}`;
  },
};

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function heatOptions(given, text, line, tooltip) {
  const times = given.times.map((at) => new Date(at).toISOString().slice(11, 16));
  return {
    animation: false, backgroundColor: "transparent", grid: { left: 8, right: 16, top: 8, bottom: 4, containLabel: true },
    tooltip: { ...tooltip, trigger: "item", formatter: ({ data: [at, bound, count] }) => `${times[at]}\nup to ${given.bounds[bound]}: ${count.toLocaleString("en")}` },
    xAxis: { type: "category", data: times, axisLabel: text, axisLine: line },
    yAxis: { type: "category", data: given.bounds, axisLabel: text, axisLine: line },
    visualMap: { show: false, min: 0, max: given.most, inRange: { color: [colour("panel"), colour("c3")] } },
    series: [{ type: "heatmap", data: given.cells }],
  };
}

function graphOptions(given, text, tooltip) {
  const nodes = given.nodes.map((node) => ({
    id: node.id, name: node.name, stat: node.stat, symbolSize: 26,
    itemStyle: { color: colour(node.failed > 0.05 ? "bad" : node.failed > 0 ? "warn" : "good") },
  }));
  const links = given.edges.map((edge) => ({ ...edge, lineStyle: { color: colour("muted"), curveness: 0.15 } }));
  return {
    animation: false, backgroundColor: "transparent",
    tooltip: { ...tooltip, trigger: "item", formatter: ({ data, dataType }) => `${dataType === "edge" ? `${data.source} → ${data.target}` : data.name}\n${data.stat}` },
    series: [{
      // One place for the same graph at every refresh.
      type: "graph", layout: "circular", circular: { rotateLabel: false }, data: nodes, links, roam: "move",
      edgeSymbol: ["none", "arrow"], edgeSymbolSize: 8, label: { show: true, position: "bottom", width: 120, overflow: "truncate", color: colour("text"), fontSize: 12 },
      emphasis: { focus: "adjacency" }, left: "18%", right: "18%", top: 24, bottom: 24,
    }],
  };
}

function optionsOf(figure) {
  const given = JSON.parse(figure.querySelector("script").textContent);
  const write = (value) => (value === null || value === undefined ? "-" : UNITS[figure.dataset.unit](value));
  const text = { color: colour("muted"), fontSize: 11 };
  const line = { lineStyle: { color: colour("line") } };
  // Rich text is drawn on the canvas: a name from telemetry never becomes HTML.
  const tooltip = {
    renderMode: "richText", backgroundColor: colour("panel"), borderColor: colour("line"),
    textStyle: { color: colour("text"), fontSize: 12 },
  };
  if (figure.dataset.kind === "heat") return heatOptions(given, text, line, tooltip);
  if (figure.dataset.kind === "graph") return graphOptions(given, text, tooltip);
  const series = given.series.map((one) => ({
    type: "line", name: one.name, data: one.data, stack: one.stack,
    color: colour(one.colour), lineStyle: { width: 2 }, symbolSize: 5, showSymbol: one.data.filter(([, value]) => value !== null).length < 3,
  }));
  if (series.length && given.marks.length) {
    series[0].markLine = {
      symbol: "none", silent: true, data: given.marks,
      lineStyle: { color: colour("text"), type: "dashed" }, label: { formatter: "{b}", color: colour("text"), rotate: 0 },
    };
  }
  return {
    animation: false, useUTC: true, backgroundColor: "transparent",
    grid: { left: 8, right: 16, top: series.length > 1 ? 44 : 28, bottom: 4, containLabel: true },
    legend: series.length > 1 ? { type: "scroll", top: 0, right: 0, textStyle: text, icon: "roundRect" } : undefined,
    tooltip: { ...tooltip, trigger: "axis", valueFormatter: write },
    xAxis: { type: "time", ...given.xAxis, axisLabel: { ...text, hideOverlap: true }, axisLine: line },
    yAxis: { type: "value", min: 0, splitNumber: 4, axisLabel: { ...text, formatter: write }, splitLine: line },
    series,
  };
}

async function drawCharts() {
  const figures = document.querySelectorAll("figure[data-chart]");
  if (!figures.length) return;
  const echarts = await import("/static/echarts/echarts.esm.min.js");
  for (const figure of figures) {
    const place = figure.querySelector(".plot");
    let plot = echarts.getInstanceByDom(place);
    if (!plot) {
      plot = echarts.init(place, null, { renderer: "canvas" });
      new ResizeObserver(() => plot.resize()).observe(place);
      plots.set(figure.dataset.chart, plot);
    }
    plot.setOption(optionsOf(figure), true);
    figure.dataset.drawn = "true";
  }
}

function focusedKey() {
  const at = document.activeElement;
  if (!at || !document.getElementById("main").contains(at)) return null;
  if (at.id) return `#${CSS.escape(at.id)}`;
  if (at.tagName === "SUMMARY" && at.parentElement.id) return `#${CSS.escape(at.parentElement.id)} > summary`;
  return at.getAttribute("href") ? `main a[href="${CSS.escape(at.getAttribute("href"))}"]` : null;
}

// The form of variables, while somebody is in it or has changed it without sending it.
function formInUse(main) {
  const form = main.querySelector(":scope > form.variables");
  const changed = (field) => (field.options ? [...field.options].some((one) => one.selected !== one.defaultSelected) : field.value !== field.defaultValue);
  return form && (form.contains(document.activeElement) || [...form.elements].some(changed)) ? form : null;
}

// A form that is kept does not leave the document: it would lose its focus, its caret and an open list.
function replaceAround(kept, main, fresh) {
  const place = kept && fresh.querySelector(":scope > form.variables");
  if (!place) { main.replaceChildren(...fresh.childNodes); return; }
  for (const old of [...main.childNodes]) if (old !== kept) old.remove();
  const nodes = [...fresh.childNodes];
  kept.before(...nodes.slice(0, nodes.indexOf(place)));
  kept.after(...nodes.slice(nodes.indexOf(place) + 1));
}

// Only what is inside <main>, and the count of alerts, is replaced, so that fields being typed in, scroll position and charts stay.
async function reload() {
  if (document.hidden || String(getSelection())) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  document.getElementById("alerts-firing").replaceWith(page.getElementById("alerts-firing"));
  const main = document.getElementById("main");
  const focused = focusedKey();
  const open = [...main.querySelectorAll("details[open][id]")].map((details) => details.id);
  for (const figure of fresh.querySelectorAll("figure[data-chart]")) {
    const kept = main.querySelector(`figure[data-chart="${figure.dataset.chart}"] .plot`);
    if (!kept) continue;
    kept.setAttribute("aria-label", figure.querySelector(".plot").getAttribute("aria-label"));
    figure.querySelector(".plot").replaceWith(kept);
  }
  replaceAround(formInUse(main), main, fresh);
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (focused && document.activeElement === document.body) document.querySelector(focused)?.focus({ preventScroll: true });
  for (const [key, plot] of plots) {
    if (!plot.getDom().isConnected) { plot.dispose(); plots.delete(key); }
  }
  await drawCharts();
}

const refreshS = Number(document.body.dataset.refreshS);
if (refreshS > 0) {
  (async () => {
    for (;;) {
      await new Promise((wake) => setTimeout(wake, refreshS * 1000));
      await reload().then(
        () => delete document.body.dataset.stale,
        () => { document.body.dataset.stale = "true"; },
      );
    }
  })();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
await drawCharts();
document.body.dataset.ready = "true";
