"use strict";
// Draws the run that the page holds. Nothing is fetched. What a run says is always set as text.

const run = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// --- what the run holds --------------------------------------------------------------------

const ID = 0, FROM = 1, TO = 2, SENT = 3, ARRIVED = 4, FATE = 5, TEXT = 6, BALLOT = 7, FIRST = 8,
  END = 9, AGAIN = 10;
const groups = [
  { name: "phase 1", letters: "pmwn", colour: ["#8a4fd0", "#bd93f0"] },
  { name: "accepts", letters: "a", colour: ["#1769c2", "#6cb1f7"] },
  { name: "votes", letters: "v", colour: ["#0b8063", "#4fcfae"] },
  { name: "clients", letters: "rcf", colour: ["#b05a00", "#f2ae5c"] },
  { name: "pre-votes", letters: "e", colour: ["#a8327c", "#f084c3"] },
  { name: "catching up", letters: "g", colour: ["#7a6a00", "#d8c548"] },
  { name: "heartbeats", letters: "h", colour: ["#8b939f", "#6d7683"], off: true },
  { name: "warm-up", letters: "b", colour: ["#6b5d52", "#b4a498"], off: true },
];
const groupOf = (message) => groups.findIndex((group) => group.letters.includes(message[ID][0]));
run.messages.forEach((message) => { message.group = groupOf(message); });
const messageById = new Map(run.messages.map((message) => [message[ID], message]));
const isMissing = (message) => message[ARRIVED] === null;
const isLost = (message) => message[FATE] !== "";
const lastCopy = (message) => Math.max(message[ARRIVED] ?? message[SENT], ...message[AGAIN]);
const longest = run.messages.reduce((most, message) =>
  Math.max(most, lastCopy(message) - message[SENT]), 0);
const shownTime = (us) => run.in_steps ? `step ${Math.round(us / 1_000)}`
  : us >= 1_000_000 ? `${(us / 1e6).toFixed(4)} s` : `${(us / 1e3).toFixed(us < 10_000 ? 2 : 1)} ms`;

// --- filters -------------------------------------------------------------------------------

const filter = { groups: groups.map((group) => !group.off), slot: null, ballot: null, lane: null };
const passes = (message) =>
  filter.groups[message.group]
  && (filter.slot === null || (message[FIRST] !== null && message[FIRST] <= filter.slot && filter.slot < message[END]))
  && (filter.ballot === null || message[BALLOT] === filter.ballot)
  && (filter.lane === null || message[FROM] === filter.lane || message[TO] === filter.lane);

// --- what goes down the page ---------------------------------------------------------------

// To scale, or a step for each event that is shown: a message takes microseconds, and between two
// of them a second may pass.
const axis = { inSteps: !run.in_steps, stops: [0] };

function below(list, wanted) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= wanted) low = middle + 1; else high = middle;
  }
  return low - 1;
}
function axisOf(time) {
  const us = Math.max(time, 0);
  if (!axis.inSteps) return us;
  const at = below(axis.stops, us), [here, next] = [axis.stops[at], axis.stops[at + 1]];
  return next === undefined ? at : at + (us - here) / (next - here);
}
function timeOf(place) {
  if (!axis.inSteps) return place;
  const at = Math.min(Math.max(Math.floor(place), 0), axis.stops.length - 1);
  const [here, next] = [axis.stops[at], axis.stops[at + 1]];
  return next === undefined ? here : here + (next - here) * Math.max(place - at, 0);
}
function findStops() {
  const times = new Set([0, run.end_us]);
  for (const message of shown) {
    times.add(message[SENT]);
    if (!isMissing(message)) times.add(message[ARRIVED]);
    message[AGAIN].forEach((us) => times.add(us));
  }
  for (const [us] of run.marks) times.add(us);
  axis.stops = [...times].sort((a, b) => a - b);
}
const endOfAxis = () => Math.max(axisOf(run.end_us), 1);
const closest = () => axis.inSteps ? 6 : 50;

const number = (input) => input.value === "" ? null : Number(input.value);
const slotInput = element("input", undefined, { type: "number", min: 0, id: "slot" });
const ballotInput = element("input", undefined, { type: "number", min: 0, id: "ballot" });
const laneInput = element("select", undefined, { id: "lane" });

function labelled(text, ...inputs) {
  const label = element("label");
  label.append(...inputs, text);
  return label;
}

function makeFilters() {
  const form = byId("filters");
  groups.forEach((group, at) => {
    if (!run.messages.some((message) => message.group === at)) return;
    const box = element("input", undefined, { type: "checkbox", "data-group": group.name });
    box.checked = filter.groups[at];
    box.addEventListener("change", () => { filter.groups[at] = box.checked; changed(); });
    const swatch = element("span", undefined, { class: "swatch" });
    swatch.style.background = `light-dark(${group.colour.join(", ")})`;
    form.append(labelled(group.name, box, swatch));
  });
  laneInput.append(element("option", "all processes", { value: "" }));
  run.lanes.forEach((lane, at) => laneInput.append(element("option", lane, { value: at })));
  slotInput.addEventListener("input", () => { filter.slot = number(slotInput); changed(); });
  ballotInput.addEventListener("input", () => { filter.ballot = number(ballotInput); changed(); });
  laneInput.addEventListener("change", () => { filter.lane = number(laneInput); changed(); });
  form.append(labelled(" slot", slotInput), labelled(" ballot", ballotInput), laneInput);
  if (!run.in_steps) {
    const box = element("input", undefined, { type: "checkbox", id: "scale" });
    box.checked = !axis.inSteps;
    box.addEventListener("change", () => keepingView(() => { axis.inSteps = !box.checked; }));
    form.append(labelled("time to scale", box));
  }
  for (const [text, title, act] of [
    ["−", "less close", () => zoom(1.6)],
    ["+", "closer", () => zoom(1 / 1.6)],
    ["All", "the whole run", () => look(0, endOfAxis())],
  ]) {
    const button = element("button", text, { type: "button", title });
    button.addEventListener("click", act);
    form.append(button);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
}

// --- the diagram ---------------------------------------------------------------------------

const canvas = document.querySelector("canvas");
const brush = canvas.getContext("2d");
const dark = matchMedia("(prefers-color-scheme: dark)");
const LEFT = 78, TOP = 26;
let view = { from: 0, until: 1 };
let size = { width: 0, height: 0 };
let shown = [];
let picked = null;

const xOf = (lane) => LEFT + (lane + 0.5) * (size.width - LEFT) / run.lanes.length;
const yAt = (place) => TOP + (place - view.from) * (size.height - TOP) / (view.until - view.from);
const yOf = (us) => yAt(axisOf(us));
const placeAt = (y) => view.from + (y - TOP) * (view.until - view.from) / (size.height - TOP);

function look(from, until) {
  const end = Math.max(endOfAxis() * 1.02, closest());
  const span = Math.min(Math.max(until - from, closest()), end);
  const start = Math.min(Math.max(from, -span * 0.02), Math.max(end - span, 0));
  view = { from: start, until: start + span };
  draw();
}
// Changes what goes down the page, and still shows the same time.
function keepingView(change) {
  const [from, until] = [timeOf(view.from), timeOf(view.until)];
  change();
  look(axisOf(from), axisOf(until));
}
const move = (part) => { const by = (view.until - view.from) * part; look(view.from + by, view.until + by); };
function zoom(factor, y = size.height / 2) {
  const at = placeAt(y);
  look(at - (at - view.from) * factor, at + (view.until - at) * factor);
}

// Messages are in the order in which they left.
function firstFrom(us) {
  let low = 0, high = shown.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shown[middle][SENT] < us) low = middle + 1; else high = middle;
  }
  return low;
}
function* visible() {
  const [from, until] = [timeOf(view.from), timeOf(view.until)];
  for (let at = firstFrom(from - longest); at < shown.length && shown[at][SENT] <= until; at++) {
    yield shown[at];
  }
}

function ends(message) {
  const from = [xOf(message[FROM]), yOf(message[SENT])];
  if (!isMissing(message)) return [from, [xOf(message[TO]), yOf(message[ARRIVED])]];
  const x = from[0] + (xOf(message[TO]) - from[0]) * 0.55;
  return [from, [x, from[1] + Math.min(14, size.height / 20)]];
}

let asked = false;
function draw() {
  if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; paint(); }); }
}

function ruler(ink) {
  const wanted = (view.until - view.from) * 60 / Math.max(size.height, 1);
  const power = 10 ** Math.floor(Math.log10(Math.max(wanted, 1)));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= wanted) ?? 10 * power;
  brush.textAlign = "right";
  for (let place = Math.max(0, Math.ceil(view.from / step) * step); place <= view.until; place += step) {
    if (place > endOfAxis()) break;
    const y = yAt(place);
    brush.fillStyle = ink.soft;
    brush.fillText(shownTime(timeOf(place)), LEFT - 10, Math.max(y + 4, TOP + 12));
    brush.fillStyle = ink.rule;
    brush.fillRect(LEFT - 6, y, size.width, 1);
  }
}

function arrow([x0, y0], [x1, y1]) {
  brush.beginPath();
  brush.moveTo(x0, y0);
  brush.lineTo(x1, y1);
  brush.stroke();
}
function head([x0, y0], [x1, y1]) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  brush.beginPath();
  brush.moveTo(x1, y1);
  brush.lineTo(x1 - 7 * Math.cos(angle - 0.4), y1 - 7 * Math.sin(angle - 0.4));
  brush.lineTo(x1 - 7 * Math.cos(angle + 0.4), y1 - 7 * Math.sin(angle + 0.4));
  brush.fill();
}
function cross([x, y]) {
  arrow([x - 4, y - 4], [x + 4, y + 4]);
  arrow([x - 4, y + 4], [x + 4, y - 4]);
}

function paint() {
  const style = getComputedStyle(document.body);
  const probe = (name) => { const el = byId("tip"); el.style.color = `var(${name})`; const c = getComputedStyle(el).color; el.style.color = ""; return c; };
  const ink = { ink: style.color, soft: probe("--soft"), rule: probe("--rule"), bad: probe("--bad"), ground: style.backgroundColor };
  const shade = dark.matches ? 1 : 0;
  brush.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  brush.clearRect(0, 0, size.width, size.height);
  brush.font = "12px system-ui, sans-serif";
  brush.lineWidth = 1;
  for (const [, from, until, ballot] of run.reigns) {
    const hue = (ballot * 67 + 205) % 360;
    const [top, bottom] = [Math.max(yOf(from), TOP), yOf(until)];
    if (bottom < TOP || top > size.height) continue;
    brush.fillStyle = `hsl(${hue} 60% 50% / 0.09)`;
    brush.fillRect(LEFT, top, size.width - LEFT, bottom - top);
  }
  ruler(ink);
  run.lanes.forEach((_, lane) => {
    brush.fillStyle = ink.soft;
    brush.fillRect(xOf(lane) - 0.5, TOP, 1, size.height - TOP);
  });
  for (const [lane, from, until] of run.gaps) {
    const [top, bottom] = [Math.max(yOf(from), TOP), Math.min(yOf(until), size.height)];
    if (bottom <= top) continue;
    brush.fillStyle = ink.ground;
    brush.fillRect(xOf(lane) - 3, top, 6, bottom - top);
    brush.strokeStyle = ink.bad;
    brush.setLineDash([2, 5]);
    arrow([xOf(lane), top], [xOf(lane), bottom]);
    brush.setLineDash([]);
    if (yOf(from) >= TOP) cross([xOf(lane), yOf(from)]);
  }
  brush.textAlign = "left";
  for (const [lane, from, until, ballot] of run.reigns) {
    const [top, bottom] = [Math.max(yOf(from), TOP), Math.min(yOf(until), size.height)];
    if (bottom <= top) continue;
    brush.fillStyle = `hsl(${(ballot * 67 + 205) % 360} 65% ${shade ? 62 : 42}%)`;
    brush.fillRect(xOf(lane) - 2.5, top, 5, bottom - top);
    if (bottom - top > 14) brush.fillText(`leads, ballot ${ballot}`, xOf(lane) + 7, top + 12);
  }
  let few = 0;
  for (const message of visible()) if (++few > 1_500) break;
  const close = few <= 1_500;
  for (const message of visible()) {
    const [from, to] = ends(message);
    brush.strokeStyle = brush.fillStyle = groups[message.group].colour[shade];
    brush.lineWidth = message === picked ? 3 : 1;
    if (isMissing(message)) {
      brush.setLineDash([4, 3]);
      arrow(from, to);
      brush.setLineDash([]);
      if (close && isLost(message)) cross(to);
    } else {
      arrow(from, to);
      if (close) head(from, to);
      for (const us of message[AGAIN]) {
        brush.setLineDash([1, 3]);
        arrow(from, [to[0], yOf(us)]);
        brush.setLineDash([]);
      }
    }
  }
  brush.lineWidth = 1;
  for (const [us, lane, kind] of run.marks) {
    const y = yOf(us);
    if (y < TOP || y > size.height) continue;
    brush.fillStyle = kind === "note" ? ink.bad : ink.ink;
    if (kind === "sync") brush.fillRect(xOf(lane) - 6, y - 0.75, 12, 1.5);
    else if (kind === "applied") { brush.beginPath(); brush.arc(xOf(lane), y, 2.4, 0, 7); brush.fill(); }
    else if (lane === null) brush.fillRect(LEFT - 6, y, size.width, 1);
    else brush.fillRect(xOf(lane) - 4, y - 4, 8, 8);
  }
  brush.fillStyle = ink.ground;
  brush.fillRect(0, 0, size.width, TOP);
  brush.fillStyle = ink.ink;
  brush.textAlign = "center";
  run.lanes.forEach((name, lane) => brush.fillText(name, xOf(lane), 17));
}

// --- pointing and clicking -----------------------------------------------------------------

function distance([px, py], [[x0, y0], [x1, y1]]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const along = Math.min(1, Math.max(0, ((px - x0) * dx + (py - y0) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(px - x0 - along * dx, py - y0 - along * dy);
}
const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
function under(point) {
  let best = null, nearest = 7;
  for (const message of visible()) {
    const away = distance(point, ends(message));
    if (away < nearest) [best, nearest] = [message, away];
  }
  if (best) return { message: best, text: told(best) };
  for (const [us, lane, kind, text] of run.marks) {
    const x = lane === null ? point[0] : xOf(lane);
    const away = Math.hypot(point[0] - x, point[1] - yOf(us));
    if (away < nearest) [best, nearest] = [`${shownTime(us)}: ${text}`, away];
  }
  return best && { text: best };
}
function told(message) {
  const way = `${run.lanes[message[FROM]]} → ${run.lanes[message[TO]]}`;
  const times = isMissing(message)
    ? `left at ${shownTime(message[SENT])}, ${isLost(message) ? message[FATE] : "has not arrived yet"}`
    : `${shownTime(message[SENT])} to ${shownTime(message[ARRIVED])}`;
  const again = message[AGAIN].length ? `, and ${message[AGAIN].length} more by the network` : "";
  return `${message[ID]} ${way}: ${message[TEXT]} (${times}${again})`;
}

function point(event) {
  const at = place(event), tip = byId("tip"), found = under(at);
  tip.hidden = !found;
  if (!found) return;
  tip.textContent = found.text;
  tip.style.left = `${Math.max(4, Math.min(at[0] + 14, size.width - tip.offsetWidth - 6))}px`;
  tip.style.top = `${Math.max(4, Math.min(at[1] + 14, size.height - tip.offsetHeight - 6))}px`;
}

let held = null;
canvas.addEventListener("pointerdown", (event) => {
  held = { y: event.clientY, view, moved: false };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!held) return point(event);
  const by = (held.y - event.clientY) * (held.view.until - held.view.from) / (size.height - TOP);
  held.moved ||= Math.abs(held.y - event.clientY) > 3;
  if (held.moved) look(held.view.from + by, held.view.until + by);
});
canvas.addEventListener("pointerup", (event) => {
  const clicked = held && !held.moved;
  held = null;
  if (!clicked) return;
  const found = under(place(event));
  picked = found?.message ?? null;
  if (picked) tellMessage(picked);
  draw();
});
canvas.addEventListener("pointercancel", () => { held = null; });
canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY / 300), place(event)[1]);
  else move(event.deltaY / Math.max(size.height, 1));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const act = { ArrowDown: () => move(0.1), ArrowUp: () => move(-0.1), PageDown: () => move(0.9),
    PageUp: () => move(-0.9), "+": () => zoom(1 / 1.6), "-": () => zoom(1.6),
    Home: () => look(0, view.until - view.from), End: () => look(run.end_us, run.end_us + view.until - view.from) }[event.key];
  if (act) { event.preventDefault(); act(); }
});

// --- stories, slots and logs ---------------------------------------------------------------

function tellMessage(message) {
  const story = byId("story");
  story.replaceChildren(element("h2", message[ID]), element("p", told(message)));
  if (message[FIRST] !== null) {
    const button = element("button", `The story of slot ${message[FIRST]}`, { type: "button" });
    button.addEventListener("click", () => tellSlot(message[FIRST], false));
    story.append(button);
  }
}

// A sentence of a story. The messages that it names can be clicked.
function sentence([ms, text]) {
  const paragraph = element("p");
  if (ms !== null && !run.in_steps) paragraph.append(element("span", `${ms} ms `, { class: "soft" }));
  // What stands in quotation marks is a line of a client, and names no message.
  for (const part of text.split(/("(?:[^"\\]|\\.)*"|\b[a-z]\d+\b)/)) {
    const message = messageById.get(part);
    if (!message) { paragraph.append(part); continue; }
    const link = element("button", part, { type: "button", class: "link", title: told(message) });
    link.addEventListener("click", () => {
      picked = message;
      const at = axisOf(message[SENT]), half = (view.until - view.from) / 2;
      look(at - half, at + half);
    });
    paragraph.append(link);
  }
  return paragraph;
}

function tellSlot(number, moves = true) {
  const slot = run.slots.find((known) => known.slot === number);
  const story = byId("story");
  if (!slot) {
    const why = run.slots_left_out > 0 ? `The page tells of the first ${run.slots.length} slots only.`
      : `Nothing is known of slot ${number}.`;
    return story.replaceChildren(element("p", why));
  }
  story.replaceChildren(element("h2", `Slot ${number}`), ...slot.story.map(sentence));
  document.querySelectorAll("#slots tr.chosen").forEach((row) => row.classList.remove("chosen"));
  document.querySelector(`#slots tr[data-slot="${number}"]`)?.classList.add("chosen");
  slotInput.value = number;
  filter.slot = number;
  changed();
  if (moves && shown.length) {
    const from = axisOf(shown[0][SENT]);
    const until = axisOf(shown.reduce((last, it) => Math.max(last, it[ARRIVED] ?? it[SENT]), 0));
    const around = (until - from) * 0.1 + closest() / 4;
    look(from - around, until + around);
  }
}

function makeTable(parent, heads, rows) {
  const table = element("table"), body = element("tbody"), top = element("tr");
  heads.forEach((head) => top.append(element("th", head)));
  table.append(element("thead"), body);
  table.firstChild.append(top);
  rows.forEach(({ cells, attributes }) => {
    const row = element("tr", undefined, attributes);
    cells.forEach((cell) => row.append(element("td", cell)));
    body.append(row);
  });
  parent.replaceChildren(table);
  return table;
}

function makeSlots() {
  const rows = run.slots.map((slot) => ({
    cells: [slot.slot, slot.value, slot.proposed.join("; "), slot.accepted.join("; "), slot.chosen,
      slot.applied.join("; ")],
    attributes: { "data-slot": slot.slot, tabindex: 0 },
  }));
  if (run.slots_left_out > 0) {
    rows.push({ cells: [`and ${run.slots_left_out} more`], attributes: { class: "soft" } });
  }
  const heads = ["slot", "in the log", "proposed", "accepted", "chosen", "applied"];
  const table = makeTable(document.querySelector("#slots .scrolls"), heads, rows);
  const open = (event) => {
    const row = event.target.closest("tr[data-slot]");
    if (row && (event.type === "click" || event.key === "Enter")) tellSlot(Number(row.dataset.slot));
  };
  table.addEventListener("click", open);
  table.addEventListener("keydown", open);
}

function makeLogs() {
  const longestLog = Math.max(0, ...run.logs.map((log) => log.end));
  const rows = [];
  for (let slot = 0; slot < longestLog; slot++) {
    const cells = run.logs.map((log) => log.lines[slot - log.first] ?? "");
    const isThere = cells.some((cell) => cell !== "");
    const attributes = slot === run.differs ? { class: "differs" } : {};
    if (isThere) rows.push({ cells: [slot, ...cells], attributes });
  }
  byId("agree").textContent = run.differs === null
    ? "Wherever two replicas have a line, it is the same."
    : `The logs differ, first in slot ${run.differs}.`;
  byId("agree").className = run.differs === null ? "soft" : "bad";
  makeTable(document.querySelector("#logs .scrolls"), ["slot", ...run.logs.map((log) => `replica ${log.replica}`)], rows);
}

// --- the beginning -------------------------------------------------------------------------

function changed() {
  keepingView(() => {
    shown = run.messages.filter(passes);
    findStops();
  });
  canvas.dataset.shown = shown.length;
}

byId("title").textContent = run.title;
byId("verdict").textContent = run.verdict;
byId("verdict").className = run.good ? "good" : "bad";
byId("command").textContent = run.command;
byId("cut").hidden = !run.is_cut;
document.title = run.title;
makeFilters();
makeSlots();
makeLogs();
changed();
new ResizeObserver(() => {
  const box = canvas.getBoundingClientRect();
  size = { width: box.width, height: box.height };
  [canvas.width, canvas.height] = [box.width * devicePixelRatio, box.height * devicePixelRatio];
  draw();
}).observe(canvas);
dark.addEventListener("change", draw);
// As many messages as one can tell apart.
const AT_FIRST = 60;
look(0, shown.length > AT_FIRST ? axisOf(shown[AT_FIRST][SENT]) : endOfAxis());
document.documentElement.dataset.ready = "yes";
