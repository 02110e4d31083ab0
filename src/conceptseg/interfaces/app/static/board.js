// A board of pictures: drop them, choose one, draw boxes or strokes on it. The value is a list of
// {path, name, mask, width, height, marks}; marks are in the picture's own upright pixels. Given by Gradio: element,
// trigger, props, server, upload, watch.
const single = props.single, most = props.most, maxBytes = props.max_bytes, accept = "image/*,.heic,.heif,.tif,.tiff";
const seen = new Map();  // path + mask → what the server says of the picture
const state = {entries: [], chosen: 0, tool: "box", size: 3, busy: 0, problems: [], draft: null, cursor: null};

const make = (tag, options = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
};
const root = element.querySelector(".cs-board");
const live = make("p", {class: "cs-problem", role: "alert"});
const input = make("input", {type: "file", accept, multiple: !single, hidden: true, onchange: () => {
  add([...input.files]);
  input.value = "";
}});
const drop = make("button", {type: "button", class: "cs-drop", onclick: () => input.click()});
const strip = make("div", {class: "cs-strip", role: "listbox", "aria-label": "References"});
const canvas = make("canvas", {
  tabindex: single ? -1 : 0, class: "cs-canvas", role: "application",
  "aria-label": single ? "The picture" : "The picture to draw on. Arrow keys move, Enter begins and ends, Delete takes back.",
});
const bar = make("div", {class: "cs-tools", role: "toolbar", "aria-label": "Drawing"});
const hint = make("p", {class: "cs-hint"});
root.replaceChildren(live, make("div", {class: "cs-row"}, drop, single ? bar : null), input, strip, single ? "" : bar,
  make("div", {class: "cs-stage-area"}, canvas), hint);

const keyOf = (entry) => entry.path + "\n" + (entry.mask || "");
const current = () => state.entries[state.chosen];
const imageFrom = (src) => new Promise((done, fail) => {
  const image = new Image();
  image.onload = () => done(image);
  image.onerror = () => fail(new Error("cannot be shown"));
  image.src = src;
});

// What is known of a picture; asked for once. Gives null, and says why, where it cannot be used.
async function look(entry) {
  const key = keyOf(entry);
  if (!seen.has(key)) {
    const told = await server.preview({path: entry.path, name: entry.name, mask: entry.mask});
    if (told.error) throw new Error(told.error);
    told.image = await imageFrom(told.src);
    told.layer = told.mask ? await imageFrom(told.mask) : null;
    seen.set(key, told);
  }
  return seen.get(key);
}

async function add(files) {
  if (!files.length) return;
  state.problems = [];
  const room = single ? 1 : Math.max(0, most - state.entries.length);
  if (files.length > room) say(`${files.length} pictures are more than there is room for: ${room}. The first are taken.`);
  const fresh = [];
  for (const file of files.slice(0, room)) {
    state.busy += 1; render();
    try {
      if (file.size === 0) throw new Error(`${file.name} is empty: 0 bytes.`);
      if (file.size > maxBytes) throw new Error(
        `${file.name} has ${Math.ceil(file.size / 2 ** 20)} MiB; a file may have ${Math.floor(maxBytes / 2 ** 20)}. Shrink it.`);
      const {path} = await upload(file);
      const entry = {path, name: file.name, mask: null, marks: []};
      const told = await look(entry);
      fresh.push({...entry, width: told.width, height: told.height});
    } catch (error) { say(error.message || String(error)); }
    state.busy -= 1;
  }
  if (fresh.length) {
    state.entries = single ? fresh : [...state.entries, ...fresh];
    state.chosen = state.entries.length - fresh.length;
    publish();
  }
  render();
}

function say(problem) { state.problems.push(problem); }
function publish() { props.value = state.entries.map((entry) => ({...entry, marks: entry.marks.map((mark) => ({...mark}))})); }
function change(entry, marks) { entry.marks = marks; publish(); render(); }

async function take(value) {  // a value that came from the server, e.g. an example
  state.entries = (Array.isArray(value) ? value : []).map((entry) => ({mask: null, ...entry, marks: [...(entry.marks || [])]}));
  state.chosen = 0; state.draft = null; state.problems = [];
  render();
  for (const entry of state.entries) {
    try { const told = await look(entry); entry.width = told.width; entry.height = told.height; }
    catch (error) { say(error.message); }
    render();
  }
}

// — drawing —
const TINT = "255,64,64";
function paint() {
  const entry = current(), told = entry && seen.get(keyOf(entry));
  canvas.parentNode.hidden = !told;
  if (!told) return;
  const limit = single ? 280 : 400, room = canvas.parentNode.clientWidth || 320;
  const scale = Math.min(room / told.width, limit / told.height), ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(told.width * scale)), height = Math.max(1, Math.round(told.height * scale));
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const pen = canvas.getContext("2d"), unit = canvas.width / told.width;
  pen.drawImage(told.image, 0, 0, canvas.width, canvas.height);
  pen.drawImage(marksLayer(entry, told, canvas.width, canvas.height, unit), 0, 0);
  for (const mark of marksOf(entry)) if (mark.kind === "box") box(pen, mark.box, unit, 2 * ratio);
  if (state.cursor && document.activeElement === canvas) cross(pen, state.cursor, unit, ratio);
}
const marksOf = (entry) => state.draft && entry === current() ? [...entry.marks, state.draft] : entry.marks;

function marksLayer(entry, told, width, height, unit) {
  const layer = document.createElement("canvas");
  layer.width = width; layer.height = height;
  const pen = layer.getContext("2d");
  if (told.layer) pen.drawImage(told.layer, 0, 0, width, height);
  pen.lineCap = pen.lineJoin = "round";
  for (const mark of marksOf(entry)) {
    if (mark.kind === "box") continue;
    pen.globalCompositeOperation = mark.kind === "erase" ? "destination-out" : "source-over";
    const stroke = document.createElement("canvas");  // apart, so that a stroke over itself is no darker
    stroke.width = width; stroke.height = height;
    const own = stroke.getContext("2d");
    own.lineCap = own.lineJoin = "round"; own.lineWidth = 2 * mark.radius * unit; own.strokeStyle = `rgb(${TINT})`;
    own.beginPath();
    mark.points.forEach(([x, y], index) => own[index ? "lineTo" : "moveTo"](x * unit, y * unit));
    if (mark.points.length === 1) own.lineTo(mark.points[0][0] * unit + 0.01, mark.points[0][1] * unit);
    own.stroke();
    pen.globalAlpha = mark.kind === "erase" ? 1 : 0.5;
    pen.drawImage(stroke, 0, 0);
    pen.globalAlpha = 1;
  }
  return layer;
}
function box(pen, [x1, y1, x2, y2], unit, width) {
  pen.lineWidth = width * 2; pen.strokeStyle = "rgba(255,255,255,.9)";
  pen.strokeRect(x1 * unit, y1 * unit, (x2 - x1) * unit, (y2 - y1) * unit);
  pen.lineWidth = width; pen.strokeStyle = `rgb(${TINT})`;
  pen.strokeRect(x1 * unit, y1 * unit, (x2 - x1) * unit, (y2 - y1) * unit);
}
function cross(pen, [x, y], unit, ratio) {
  for (const [width, colour] of [[4 * ratio, "#fff"], [2 * ratio, "#000"]]) {
    pen.lineWidth = width; pen.strokeStyle = colour; pen.beginPath();
    pen.moveTo(x * unit - 12 * ratio, y * unit); pen.lineTo(x * unit + 12 * ratio, y * unit);
    pen.moveTo(x * unit, y * unit - 12 * ratio); pen.lineTo(x * unit, y * unit + 12 * ratio); pen.stroke();
  }
}

const clamp = (value, high) => Math.min(Math.max(value, 0), high);
function pointOf(event) {
  const place = canvas.getBoundingClientRect(), entry = current();
  return [clamp((event.clientX - place.left) / place.width * entry.width, entry.width),
          clamp((event.clientY - place.top) / place.height * entry.height, entry.height)]
    .map((value) => Math.round(value * 10) / 10);
}
function begin(point) {
  const entry = current(), radius = state.size / 100 * Math.max(entry.width, entry.height);
  state.draft = state.tool === "box"
    ? {kind: "box", box: [...point, ...point]} : {kind: state.tool, points: [point], radius};
}
function go(point) {
  if (!state.draft) return;
  if (state.draft.kind === "box") state.draft.box = [state.draft.box[0], state.draft.box[1], ...point];
  else state.draft.points.push(point);
}
function finish() {
  const draft = state.draft, entry = current();
  state.draft = null;
  if (!draft || !entry) return;
  if (draft.kind === "box") {
    const [x1, y1, x2, y2] = draft.box;
    draft.box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
    const least = 0.005 * Math.max(entry.width, entry.height);
    if (draft.box[2] - draft.box[0] < least || draft.box[3] - draft.box[1] < least) return render();
  }
  change(entry, [...entry.marks, draft]);
}
if (!single) {
  canvas.addEventListener("pointerdown", (event) => {
    if (!current() || event.button) return;
    event.preventDefault(); canvas.focus({preventScroll: true}); canvas.setPointerCapture(event.pointerId);
    state.cursor = null; begin(pointOf(event)); paint();
  });
  canvas.addEventListener("pointermove", (event) => { if (state.draft) { go(pointOf(event)); paint(); } });
  canvas.addEventListener("pointerup", finish);
  canvas.addEventListener("pointercancel", () => { state.draft = null; paint(); });
  canvas.addEventListener("keydown", (event) => {
    const entry = current(), step = (event.shiftKey ? 0.05 : 0.01) * (entry ? Math.max(entry.width, entry.height) : 0);
    const moves = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
    if (!entry) return;
    if (moves[event.key]) {
      const [x, y] = state.cursor || [entry.width / 2, entry.height / 2];
      state.cursor = [clamp(x + moves[event.key][0], entry.width), clamp(y + moves[event.key][1], entry.height)];
      go(state.cursor);
    } else if (event.key === "Enter" || event.key === " ") {
      state.cursor = state.cursor || [entry.width / 2, entry.height / 2];
      if (state.draft) finish(); else begin(state.cursor);
    } else if (event.key === "Escape") state.draft = null;
    else if (event.key === "Delete" || event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey))) {
      if (state.draft) state.draft = null; else change(entry, entry.marks.slice(0, -1));
    } else return;
    event.preventDefault(); paint();
  });
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", paint);
}

// — the rest of the board —
function button(label, onclick, options = {}) { return make("button", {type: "button", onclick, ...options}, label); }
function toolButton(name, label) {
  return button(label, () => { state.tool = name; render(); }, {"aria-pressed": String(state.tool === name), class: "cs-tool"});
}
function fillTools() {
  const entry = current(), parts = [];
  if (entry && !single) {
    parts.push(toolButton("box", "Box"), toolButton("brush", "Brush"), toolButton("erase", "Erase"));
    if (state.tool !== "box") parts.push(make("input", {
      type: "range", min: 1, max: 12, step: 0.5, value: state.size, "aria-label": "Brush size", title: "Brush size",
      oninput: (event) => { state.size = Number(event.target.value); },
    }));
    parts.push(make("span", {class: "cs-gap"}));
    parts.push(button("Undo", () => change(entry, entry.marks.slice(0, -1)), {disabled: !entry.marks.length}));
    parts.push(button("Clear", () => { entry.mask = null; look(entry).then(() => change(entry, [])); },
      {disabled: !entry.marks.length && !entry.mask}));
  }
  if (entry) parts.push(button("Remove", () => {
    state.entries.splice(state.chosen, 1); state.chosen = Math.max(0, state.chosen - 1); state.draft = null;
    state.problems = []; publish(); render();
  }, {"aria-label": `Remove ${entry.name}`}));
  bar.replaceChildren(...parts);
  bar.hidden = !entry;
}
function fillStrip() {
  strip.hidden = single || !state.entries.length;
  strip.replaceChildren(...state.entries.map((entry, index) => {
    const told = seen.get(keyOf(entry)), isMarked = entry.marks.length || entry.mask;
    return make("button", {
      type: "button", role: "option", class: "cs-thumb", "aria-selected": String(index === state.chosen),
      "aria-label": `Reference ${index + 1}, ${entry.name}, ${isMarked ? "marked" : "not marked yet"}`, title: entry.name,
      onclick: () => { state.chosen = index; state.draft = null; state.cursor = null; render(); },
    }, told ? make("img", {src: told.src, alt: ""}) : null,
    make("span", {class: isMarked ? "cs-dot cs-marked" : "cs-dot"}, isMarked ? "✓" : String(index + 1)));
  }));
}
function hintText() {
  if (!state.entries.length) return "";
  const unmarked = state.entries.filter((entry) => !entry.marks.length && !entry.mask).length;
  if (single) { const entry = current(); return `${entry.name}${entry.width ? `, ${entry.width} × ${entry.height}` : ""}`; }
  const notes = (seen.get(keyOf(current())) || {notes: []}).notes;
  const begun = unmarked ? `${unmarked} of ${state.entries.length} not marked yet. ` : "";
  const first = state.entries.length > 1 && state.chosen === 0
    ? "The first one's mark is kept from the model, which has to find it by its own rule. " : "";
  return `${begun}${first}${notes.join(" ")}`;
}
function render() {
  live.textContent = state.problems.join(" ");
  live.hidden = !state.problems.length;
  const words = single ? (state.entries.length ? "Another picture" : "Drop a picture, or choose one")
    : (state.entries.length ? "Add pictures" : "Drop pictures that show it, or choose some");
  drop.textContent = state.busy ? "Reading…" : words;
  drop.classList.toggle("cs-small", state.entries.length > 0);
  fillStrip(); fillTools(); paint();
  hint.textContent = hintText();
}
root.addEventListener("dragover", (event) => { event.preventDefault(); root.classList.add("cs-over"); });
root.addEventListener("dragleave", () => root.classList.remove("cs-over"));
root.addEventListener("drop", (event) => {
  event.preventDefault(); root.classList.remove("cs-over"); add([...event.dataTransfer.files]);
});
root.addEventListener("paste", (event) => add([...event.clipboardData.files]));
new ResizeObserver(() => paint()).observe(root);
watch("value", () => take(props.value));
take(props.value);
