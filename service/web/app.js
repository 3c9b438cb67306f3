// The page at /: choose or drop a file, send it to this server's own API, show the words.

const byId = (id) => document.getElementById(id);
const sections = { ask: byId("ask"), work: byId("work"), problem: byId("problem"), result: byId("result") };
const player = byId("player");
const transcript = byId("transcript");

const SURE = [0.4, 0.65, 0.85]; // below the first: a guess; from the last on: sure
const MOST_ALTERNATIVES = 3; // that are shown of a word

let result = null; // the file whose transcript is on the page; it stays there until there is another
let task = null; // the AbortController of what was begun last
let again = null; // begins that once more
let alternatives = MOST_ALTERNATIVES; // 0 where the server says that its model knows of none
let words = []; // {start, end, element}, in order of time
let current = -1; // index of the word being played

// ---- choosing a file

byId("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});

// The whole window takes a dropped file: a near miss must not make the browser leave the page.
window.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
window.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
window.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  take(event.dataTransfer.files);
});

function take(files) {
  if (!files.length) return; // a piece of text was dropped
  byId("one-only").hidden = files.length === 1;
  byId("one-only").textContent = `One file at a time: of ${files.length} only ${files[0].name} was taken.`;
  transcribe(files[0]);
}

byId("cancel").addEventListener("click", () => task?.abort());
byId("again").addEventListener("click", () => again());

// ---- the key, where the server asks for one

let key = sessionStorage.getItem("key"); // this tab's alone, and gone with it; only one that was good is stored

const isOfKey = (error) => error.status === 401 || error.code === "insufficient_scope";

function askForKey(error) {
  byId("ask-why").textContent = key ? error.message : "";
  key = null;
  sessionStorage.removeItem("key");
  showWithResult("ask");
  byId("key").focus();
}

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = byId("key").value.trim();
  byId("key").value = "";
  if (/^[!-~]+$/.test(typed)) {
    key = typed;
    again();
  } else {
    byId("ask-why").textContent = "That is no key: keys have no spaces, and no letters with accents.";
  }
});

// ---- from file to words

// Do what talks to the server, in place of what is still under way. Whatever becomes of it, the last result stays.
async function attempt(steps) {
  task?.abort();
  const mine = (task = new AbortController());
  again = () => attempt(steps);
  try {
    await steps(mine.signal);
  } catch (error) {
    if (task !== mine) return;
    if (mine.signal.aborted) showCancelled();
    else if (isOfKey(error)) askForKey(error);
    else showProblem(error);
  }
}

const transcribe = (chosen) =>
  attempt(async (signal) => {
    player.pause();
    show("work");
    showResult(chosen, JSON.parse(await sendForWords(chosen, signal)));
  });

// A model that decodes greedily has no alternatives, and the server refuses to be asked for them. It has said so before,
// unless another model has become the default just now.
async function sendForWords(chosen, signal) {
  try {
    return await send(chosen, "verbose_json", signal);
  } catch (error) {
    if (error.param !== "alternatives") throw error;
    alternatives = 0;
    return send(chosen, "verbose_json", signal);
  }
}

// Send the file; resolves to the answer's body. XMLHttpRequest, because fetch cannot tell how much has been uploaded.
async function send(chosen, format, signal) {
  await mustBeReadable(chosen);
  signal.throwIfAborted();
  const form = new FormData();
  form.append("model", "default");
  form.append("response_format", format);
  if (format === "verbose_json") {
    form.append("timestamp_granularities[]", "word");
    form.append("timestamp_granularities[]", "segment");
    form.append("alternatives", alternatives);
  }
  form.append("file", chosen, "audio"); // its name is nobody's business
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    signal.addEventListener("abort", () => xhr.abort());
    xhr.addEventListener("loadend", whileWorking(xhr, chosen));
    xhr.addEventListener("load", () => {
      if (xhr.status !== 200) return reject(problemOf(xhr));
      if (key) sessionStorage.setItem("key", key);
      resolve(xhr.responseText);
    });
    xhr.addEventListener("error", () => reject(passing("The server cannot be reached. Is it still running?")));
    xhr.addEventListener("abort", () => reject(passing("The request was stopped.")));
    xhr.open("POST", "v1/audio/transcriptions");
    if (key) xhr.setRequestHeader("authorization", `Bearer ${key}`);
    xhr.send(form);
  });
}

// A folder can be dropped like a file; what sending it would say is that the server cannot be reached.
async function mustBeReadable(chosen) {
  try {
    await chosen.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error(`${chosen.name} cannot be read: it is a folder, or it was changed or moved away.`);
  }
}

// Says what is going on: first the share uploaded, then the seconds since. Returns what ends it.
function whileWorking(xhr, chosen) {
  const bar = byId("bar");
  const tell = (text) => {
    byId("work-text").textContent = text;
    say(text);
  };
  const time = byId("work-time");
  bar.value = 0;
  tell(`Uploading ${chosen.name} …`);
  xhr.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
  });
  let timer = 0;
  xhr.upload.addEventListener("load", () => {
    const began = Date.now();
    bar.removeAttribute("value"); // how long the model takes is not known: the bar only shows that it works
    tell("Listening …");
    timer = setInterval(() => (time.textContent = `${Math.round((Date.now() - began) / 1000)} s`), 1000);
  });
  return () => {
    clearInterval(timer);
    time.textContent = "";
  };
}

// An error that may be gone the next time.
const passing = (message) => Object.assign(new Error(message), { passing: true });

function problemOf(xhr) {
  const error = new Error(`The server answered with status ${xhr.status}.`);
  error.status = xhr.status;
  error.passing = xhr.status === 408 || xhr.status === 429 || xhr.status >= 500;
  error.requestId = xhr.getResponseHeader("x-request-id");
  try {
    const told = JSON.parse(xhr.responseText).error;
    error.message = told.message;
    error.code = told.code;
    error.param = told.param;
  } catch {
    // Not one of our answers (a proxy's, say): the status has to do.
  }
  return error;
}

// ---- showing

function show(...names) {
  for (const [name, section] of Object.entries(sections)) section.hidden = !names.includes(name);
  byId("drop").classList.toggle("compact", names.length > 0);
  if (document.activeElement.closest("section[hidden]")) byId(names.includes("work") ? "cancel" : "file").focus();
}

const showWithResult = (...names) => show(...names, ...(result ? ["result"] : []));

// To screen readers, which a status that comes and goes with its section would not always reach.
const say = (text) => (byId("said").textContent = text);

function showCancelled() {
  showWithResult();
  say("Cancelled");
}

function showProblem(error) {
  byId("problem-text").textContent = error.message;
  byId("problem-id").textContent = error.requestId ? `Request ${error.requestId}` : "";
  byId("again").hidden = !error.passing;
  showWithResult("problem");
}

function showResult(chosen, answer) {
  result = chosen;
  byId("name").textContent = chosen.name;
  byId("facts").textContent = `${clock(answer.duration)} of audio, ${wordCount(answer)}`;
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(chosen);
  byId("unplayable").hidden = true;
  player.hidden = false;
  showWords(answer);
  show("result");
  say(`Done, ${wordCount(answer)}`);
}

function showWords(answer) {
  transcript.replaceChildren();
  transcript.classList.toggle("nothing", !answer.words.length);
  words = [];
  current = -1;
  if (!answer.words.length) transcript.textContent = "No speech was heard.";
  let next = 0;
  for (const segment of answer.segments) {
    const line = document.createElement("p");
    for (; next < answer.words.length && answer.words[next].start < segment.end; next++) {
      line.append(wordElement(answer.words[next]), " ");
    }
    if (line.firstChild) transcript.append(line);
  }
  if (words.length) words[0].element.tabIndex = 0;
}

function wordElement(word) {
  const element = document.createElement("span");
  element.className = "word";
  element.textContent = word.word;
  element.tabIndex = -1;
  element.setAttribute("role", "button");
  element.dataset.index = words.length;
  element.dataset.level = SURE.filter((least) => word.confidence >= least).length;
  element.dataset.tip = `${seconds(word.start)} – ${seconds(word.end)} · ${percent(word.confidence)} sure${others(word)}`;
  words.push({ start: word.start, end: word.end, element });
  return element;
}

// A line of what else may have been said there; an alternative without text is that nothing was.
function others(word) {
  const named = (word.alternatives ?? []).map((other) => `${other.word || "(no word)"} ${percent(other.share)}`);
  return named.length ? `\nor ${named.join(", ")}` : "";
}

const clock = (time) =>
  time < 60 ? `${time.toFixed(1)} s` : `${Math.floor(time / 60)}:${String(Math.floor(time % 60)).padStart(2, "0")} min`;
const wordCount = ({ words }) => `${words.length} ${words.length === 1 ? "word" : "words"}`;
const seconds = (time) => `${time.toFixed(2)} s`;
const percent = (share) => `${Math.round(100 * share)} %`;

// ---- hearing a word, by mouse and by keyboard

transcript.addEventListener("click", (event) => {
  const word = wordAt(event.target);
  if (word) hear(word);
});

transcript.addEventListener("keydown", (event) => {
  const word = wordAt(event.target);
  if (!word || event.altKey || event.ctrlKey || event.metaKey) return; // those are the browser's own
  const index = words.indexOf(word);
  const target = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: words.length - 1 }[event.key];
  if (event.key === "Enter" || event.key === " ") hear(word);
  else if (target === undefined) return;
  else if (words[target]) focusWord(words[target]);
  event.preventDefault();
});

function focusWord(word) {
  for (const other of transcript.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  word.element.tabIndex = 0; // one word at a time is in the tab order
  word.element.focus();
}

function hear(word) {
  focusWord(word);
  if (player.hidden) return;
  player.currentTime = word.start;
  player.play().catch(() => {}); // the player's own error event tells
}

const wordAt = (target) => words[target.closest?.(".word")?.dataset.index];

player.addEventListener("error", () => {
  if (!player.getAttribute("src")) return;
  player.hidden = true;
  byId("unplayable").hidden = false;
});

player.addEventListener("play", () => requestAnimationFrame(follow));
player.addEventListener("seeked", mark);

function follow() {
  mark();
  if (!player.paused) requestAnimationFrame(follow);
}

// Highlight the word that is being said; between words the last one stays.
function mark() {
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start <= player.currentTime) low = middle + 1;
    else high = middle;
  }
  if (low - 1 === current) return;
  words[current]?.element.classList.remove("now");
  current = low - 1;
  words[current]?.element.classList.add("now");
  if (!player.paused) words[current]?.element.scrollIntoView({ block: "nearest" });
}

// ---- a word's times and alternatives, on hover and on focus

const tip = document.createElement("div");
tip.id = "tip";
tip.setAttribute("role", "tooltip");
tip.hidden = true;
document.body.append(tip);

function showTip(event) {
  const word = wordAt(event.target);
  tip.hidden = !word;
  document.querySelector("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
  if (!word) return;
  tip.textContent = word.element.dataset.tip;
  word.element.setAttribute("aria-describedby", "tip");
  const box = word.element.getBoundingClientRect();
  tip.style.left = 0; // where nothing makes it narrower than it wants to be
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${window.scrollX + Math.max(8, left)}px`;
  tip.style.top = `${window.scrollY + box.top - tip.offsetHeight - 4}px`;
}

const hideTip = () => (tip.hidden = true);

transcript.addEventListener("mouseover", showTip);
transcript.addEventListener("focusin", showTip);
transcript.addEventListener("mouseleave", hideTip);
transcript.addEventListener("focusout", hideTip);

// ---- taking the transcript away

const asText = () => [...transcript.querySelectorAll("p")].map((line) => line.textContent.trim()).join("\n");

byId("copy").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(asText());
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed"; // browsers let a page copy only over HTTPS or from this machine
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

byId("txt").addEventListener("click", () => save(`${asText()}\n`, result, "txt"));

for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => download(result, button.dataset.format));
}

// Asked from the server, which cuts captions the same way for everyone and remembers the transcript for a while, but
// not the audio: that is uploaded again, which can take its time.
const download = (chosen, format) =>
  attempt(async (signal) => {
    showWithResult("work");
    save(await send(chosen, format, signal), chosen, format);
    showWithResult();
    say(`${format.toUpperCase()} saved`);
  });

function save(text, chosen, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = `${chosen.name.replace(/\.[^.]*$/, "")}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ---- is the server ready?

async function watchServer() {
  const state = byId("model");
  let again = 2000;
  try {
    const response = await fetch("readyz");
    const answer = await response.json();
    state.className = response.ok ? "ready" : "";
    state.textContent = response.ok ? answer.model : answer.error.message;
    if (response.ok) {
      alternatives = answer.alternatives ? MOST_ALTERNATIVES : 0;
      again = 30_000;
    }
  } catch {
    state.className = "failed";
    state.textContent = "server not reachable";
  }
  setTimeout(watchServer, again);
}

byId("base").textContent = location.href.replace(/[?#].*$/, "").replace(/\/$/, "");
watchServer();
