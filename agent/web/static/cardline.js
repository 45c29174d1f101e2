// The pages work without this module; it joins each player with its transcript and tells the server the time zone.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `cardline_zone=${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
}

// Reduced motion is a wish to be respected.
const motion = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";

// Where a bar is longer than the screen, what one is at comes into view.
for (const here of document.querySelectorAll(".bar [aria-current], .chips [aria-current]")) {
  const bar = here.parentElement;
  if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = here.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
}

// Only one voice at a time.
document.addEventListener(
  "play",
  (event) => {
    for (const other of document.querySelectorAll("audio")) {
      if (other !== event.target) other.pause();
    }
  },
  true,
);

export function attach(sound) {
  const audio = sound.querySelector("audio");
  const places = (selector) =>
    Array.from(sound.querySelectorAll(selector), (button) => ({ button, start: Number(button.dataset.start) }));
  const marks = places(".marks [data-start]");
  if (!audio) return;
  let lines = [];
  let current = null;

  function play(line) {
    const go = () => {
      audio.currentTime = line.start;
      audio.play().catch(() => {});
    };
    if (audio.readyState >= HTMLMediaElement.HAVE_METADATA) {
      go();
    } else {
      audio.addEventListener("loadedmetadata", go, { once: true });
      audio.load();
    }
  }

  function show(line) {
    if (line === current) return;
    current?.button.removeAttribute("aria-current");
    current = line;
    if (!line) return;
    line.button.setAttribute("aria-current", "true");
    const scroller = line.button.closest(".transcript");
    const box = scroller.getBoundingClientRect();
    const place = line.button.getBoundingClientRect();
    if (place.top < box.top || place.bottom > box.bottom) {
      scroller.scrollBy({ top: place.top - box.top - box.height / 3, behavior: motion });
    }
  }

  audio.addEventListener("timeupdate", () => {
    const now = audio.currentTime + 0.05;
    show(lines.findLast((line) => line.start <= now) ?? null);
  });
  marks.forEach((mark) => mark.button.addEventListener("click", () => play(mark)));
  const join = () => {
    lines = places(".transcript [data-start]");
    lines.forEach((line, index) => {
      line.button.addEventListener("click", () => play(line));
      line.button.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        const next = step && lines[index + step];
        if (!next) return;
        event.preventDefault();
        next.button.focus();
      });
    });
  };
  join();

  // A history shows how a talk begins; the rest comes when somebody wants to read it.
  const fold = sound.querySelector("[data-said]");
  const rest = fold?.querySelector("[data-rest]");
  if (rest) fold.addEventListener("toggle", unfold);

  async function unfold() {
    if (!fold.open) return;
    fold.removeEventListener("toggle", unfold);
    try {
      const answer = await fetch(fold.dataset.said, { headers: { Accept: "text/html" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const said = new DOMParser().parseFromString(await answer.text(), "text/html");
      rest.replaceWith(...said.body.childNodes);
      join();
    } catch {
      fold.addEventListener("toggle", unfold); // the link to the call stays; unfolding asks again
    }
  }
}

document.querySelectorAll("[data-sound]").forEach(attach);

// The menu of the frame closes when one goes elsewhere; a slash goes to the search box.
const menu = document.querySelector("[data-menu]");
document.addEventListener("click", (event) => {
  if (menu?.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu?.open) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  const writes = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !writes && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const box = document.querySelector("[data-seek]");
    if (!box) return;
    event.preventDefault();
    box.focus();
  }
});

// A box that names a card offers those that fit what is written; without this one writes a name, and it is looked for.
let offering = 0;
document.addEventListener("input", (event) => {
  const list = event.target.list;
  if (!list?.dataset.choices) return;
  clearTimeout(offering);
  offering = setTimeout(() => offer(event.target, list), 200);
});

async function offer(box, list) {
  const words = box.value.trim();
  if (words.length < 2 || /№ ?\d+$/.test(words)) return;
  try {
    const answer = await fetch(`${list.dataset.choices}?q=${encodeURIComponent(words)}`);
    if (!answer.ok || box.value.trim() !== words) return;
    const names = await answer.json();
    list.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
  } catch {
    // the network is away; the name can be written all the same
  }
}
