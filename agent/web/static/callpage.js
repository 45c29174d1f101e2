// The page of a call: players, the text that follows them, marks on the time line, keys. All of it works without this
// module too, by the browser's own player, links and forms.
import { Player } from "./player.js";

const motion = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
const LOOKING_ELSEWHERE_MS = 5000; // whoever scrolls the text reads there for a while

// The text

class Transcript {
  constructor(section, player) {
    this.section = section;
    this.player = player;
    this.words = null;
    this.pointed = null; // the line that waits for them
    this.left = 0;
    this.read();
    section.addEventListener("click", (event) => this.#clicked(event));
    section.addEventListener("pointerover", (event) => this.split(event.target.closest("[data-line]")));
    for (const name of ["wheel", "touchmove"]) {
      document.addEventListener(name, () => (this.left = performance.now()), { passive: true });
    }
    new MutationObserver((changes) => {
      if (!changes.some((one) => one.target.matches("li"))) return;
      this.read();
      const made = changes.flatMap((one) => [...one.addedNodes]).find((one) => one.matches?.("[data-line]"));
      made?.querySelector("textarea, .say")?.focus({ preventScroll: true });
    }).observe(section, { childList: true, subtree: true });
    player.addEventListener("moved", () => this.follow());
    player.addEventListener("playing", () => {
      this.left = 0;
      this.load();
    });
  }

  // Whatever is there now; a line that was corrected is another element.
  read() {
    this.lines = [...this.section.querySelectorAll("[data-line]")].map((element) => ({
      element,
      start: Number(element.dataset.start),
      end: Number(element.dataset.end),
      id: element.id.slice(1),
    }));
    this.current = null;
    this.word = null;
    this.follow();
  }

  async load() {
    const chosen = this.section.dataset.chosen ? `?transcript=${this.section.dataset.chosen}` : "";
    this.words ??= await fetch(`/recordings/${this.player.id}/words${chosen}`)
      .then((answer) => (answer.ok ? answer.json() : {}))
      .catch(() => null);
    if (this.words === null) return; // the next line that is pointed at asks again
    for (const element of [this.current?.element, this.pointed]) this.split(element);
  }

  // Words become places to click once somebody points at their line or hears it: thousands at once would be slow. Where
  // a person has corrected the line its words have no times.
  split(element) {
    if (!element || element.hasAttribute("data-split") || !element.querySelector(".said")) return;
    if (this.words === null) {
      this.pointed = element;
      this.load();
      return;
    }
    const told = this.words[element.id.slice(1)];
    const place = element.querySelector(".said");
    const plain = (text) => text.replace(/\s+/g, " ").trim();
    element.setAttribute("data-split", "");
    if (!told?.length || plain(told.map((one) => one[2]).join("")) !== plain(place.textContent)) {
      if (!told?.length || plain(told.map((one) => one[2].trim()).join(" ")) !== plain(place.textContent)) return;
    }
    place.replaceChildren(
      ...told.flatMap(([start, end, text], number) => {
        const word = document.createElement("span");
        word.className = "word";
        word.dataset.word = String(start);
        word.dataset.end = String(end);
        word.textContent = text.trim();
        return number ? [document.createTextNode(" "), word] : [word];
      }),
    );
  }

  #clicked(event) {
    const line = event.target.closest("[data-line]");
    if (!line || !event.target.closest(".say")) return;
    if (String(getSelection()).length > 1) return; // somebody copies words
    const word = event.target.closest("[data-word]");
    this.player.play(Number(word ? word.dataset.word : line.dataset.start));
  }

  at(second) {
    let low = 0;
    let high = this.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lines[middle].start <= second + 0.05) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  follow() {
    const now = this.player.now;
    const place = now || this.player.playing ? this.at(now) : -1;
    const line = this.lines[place] ?? null;
    if (line !== this.current) {
      this.current?.element.removeAttribute("aria-current");
      this.current = line;
      if (line) {
        line.element.setAttribute("aria-current", "true");
        this.split(line.element);
        this.#scroll(line.element);
      }
    }
    this.#mark(line, now);
  }

  #mark(line, now) {
    const words = line && this.player.playing ? [...line.element.querySelectorAll("[data-word]")] : [];
    const word = words.findLast((one) => Number(one.dataset.word) <= now + 0.05) ?? null;
    if (word === this.word) return;
    this.word?.classList.remove("is-now");
    word?.classList.add("is-now");
    this.word = word;
  }

  #scroll(element) {
    if (performance.now() - this.left < LOOKING_ELSEWHERE_MS && this.left) return;
    if (this.section.contains(document.activeElement) && document.activeElement.matches("textarea")) return;
    const scrolls = this.section.scrollHeight > this.section.clientHeight + 1;
    if (!scrolls && !this.player.playing) return;
    if (!scrolls) {
      element.scrollIntoView({ block: "center", behavior: motion });
      return;
    }
    const box = this.section.getBoundingClientRect();
    const place = element.getBoundingClientRect();
    if (place.top < box.top + 8 || place.bottom > box.bottom - 8) {
      this.section.scrollBy({ top: place.top - box.top - box.height / 3, behavior: this.player.playing ? motion : "auto" });
    }
  }

  step(lines) {
    const place = Math.min(this.lines.length - 1, Math.max(0, this.at(this.player.now) + lines));
    if (this.lines[place]) {
      this.left = 0;
      this.player.seek(this.lines[place].start);
    }
  }
}

// Marks and comments on the time line: the lists beside it are the truth, this only places them.

function place(player) {
  const strip = player.find("[data-strip]");
  const found = document.querySelectorAll(
    `[data-moment][data-recording="${player.id}"], [data-comment][data-recording="${player.id}"]`,
  );
  strip.replaceChildren(
    ...[...found].map((one) => {
      const mark = document.createElement("span");
      const start = Number(one.dataset.start);
      const end = Number(one.dataset.end ?? start);
      mark.className = one.hasAttribute("data-comment") ? "pin pin-comment" : `pin pin-${one.dataset.moment}`;
      mark.style.left = `${(start / player.seconds) * 100}%`;
      if (end > start) mark.style.width = `${((end - start) / player.seconds) * 100}%`;
      mark.title = one.textContent.replace(/\s+/g, " ").trim().slice(0, 160);
      mark.dataset.seek = String(start);
      return mark;
    }),
  );
}

document.querySelector(".call-page")?.classList.add("is-following");

const players = new Map();
const transcripts = new Map();
let active = null;

for (const box of document.querySelectorAll("[data-player]")) {
  const player = new Player(box);
  players.set(player.id, player);
  active ??= player;
  player.addEventListener("playing", () => {
    active = player;
    const hidden = document.querySelector("[data-current-recording]");
    if (hidden) hidden.value = String(player.id);
  });
  const text = document.querySelector(`[data-transcript][data-recording="${player.id}"]`);
  if (text) transcripts.set(player.id, new Transcript(text, player));
  place(player);
  const folded = box.closest("details");
  if (folded && !folded.open) folded.addEventListener("toggle", () => player.load(), { once: true });
  else player.load();
  if (Number(box.dataset.at)) active = player;
}

function placeAll() {
  for (const player of players.values()) place(player);
}
for (const asides of document.querySelectorAll(".asides, .call-page")) new MutationObserver(placeAll).observe(asides, { childList: true });

// Links to a moment of this very page play it instead of loading the page again.
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-seek]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const number = Number(link.dataset.recording ?? link.closest("[data-player]")?.dataset.recording);
  const player = players.get(number);
  if (!player) return;
  event.preventDefault();
  event.stopPropagation();
  player.box.closest("details")?.setAttribute("open", "");
  player.play(Number(link.dataset.seek));
}, true);

// A comment is about the second at which one begins to write it.
document.addEventListener("focusin", (event) => {
  const form = event.target.closest("[data-commenting]");
  const second = form?.querySelector("[data-current-second]");
  if (second && !second.value && !event.target.matches("[data-current-second]") && active) {
    const whole = Math.floor(active.now);
    second.value = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
    form.querySelector("[data-current-recording]").value = String(active.id);
  }
});

// What could not be saved is said where it was written; the words stay in their field.
for (const name of ["htmx:response:error", "htmx:error"]) {
  document.addEventListener(name, (event) => {
    const words = document.querySelector("[data-transcript]")?.dataset.problem ?? "";
    const form = event.target.closest?.("form");
    if (!form) return;
    const said = form.querySelector(".problem") ?? form.appendChild(document.createElement("p"));
    said.className = "problem";
    said.setAttribute("role", "alert");
    said.textContent = words;
  });
}

// Keys

const help = document.querySelector("#keys");
for (const one of document.querySelectorAll("[data-keys]")) one.addEventListener("click", () => help.showModal());

const KEYS = {
  " ": (player) => player.toggle(),
  ArrowLeft: (player) => player.step(-5),
  ArrowRight: (player) => player.step(5),
  ",": (player) => player.step(-1),
  ".": (player) => player.step(1),
  ArrowUp: (player) => transcripts.get(player.id)?.step(-1),
  ArrowDown: (player) => transcripts.get(player.id)?.step(1),
  "[": (player) => player.faster(-1),
  "]": (player) => player.faster(1),
  s: (player) => player.skip(),
  m: (player) => player.muteAll(),
  1: (player) => player.mute(0),
  2: (player) => player.mute(1),
  l: (player) => player.share(),
  c: () => document.querySelector("[data-commenting] textarea")?.focus(),
  "?": () => help.showModal(),
};

// By the place of the key where the letters are Cyrillic.
const CODES = { KeyS: "s", KeyM: "m", KeyL: "l", KeyC: "c", BracketLeft: "[", BracketRight: "]", Comma: ",", Period: "." };

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return null;
  if (event.key === " " && event.target.closest("button:not(.say), a, summary")) return null;
  if (event.key in KEYS) return event.key;
  return CODES[event.code] ?? null;
}

document.addEventListener("keydown", (event) => {
  const key = pressed(event);
  if (key === null || !active) return;
  event.preventDefault();
  KEYS[key](active);
});
document.addEventListener("keyup", (event) => {
  if (event.key === " " && event.target.closest(".say")) event.preventDefault(); // it paused, it does not play the line
});

// The words of the whole call, so that the first click on one finds it.
if (active) (window.requestIdleCallback ?? setTimeout)(() => transcripts.get(active.id)?.load());
