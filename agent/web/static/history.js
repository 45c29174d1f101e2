// A card's history goes on by itself as one reads: older entries come before its end is seen. The link to them stays for
// the keyboard, and where they do not come.
import { attach } from "./cardline.js";

const AHEAD_PX = 800; // below what is seen
const FURTHEST = 20; // pages, for an entry that the address names

const watcher = new IntersectionObserver(
  (seen) => seen.filter((one) => one.isIntersecting).forEach((one) => goOn(one.target)),
  { rootMargin: `0px 0px ${AHEAD_PX}px 0px` },
);

function watch() {
  const link = document.querySelector("[data-older]");
  const seeks = isSeeking();
  if (link && seeks) goOn(link);
  else if (link && !hasMoreBelow()) watcher.observe(link);
  link?.addEventListener("click", goOnHere);
}

// On a narrow screen notes and forms stand below the history: there older entries come when one asks for them.
function hasMoreBelow() {
  const side = document.querySelector(".card-side");
  const main = document.querySelector(".card-main");
  return Boolean(side && main) && side.getBoundingClientRect().left <= main.getBoundingClientRect().left;
}

function goOnHere(event) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  goOn(event.currentTarget).then((came) => came || location.assign(event.target.href));
}

let sought = location.hash.startsWith("#entry-") ? location.hash.slice(1) : "";
let steps = 0;

// The browser has looked for what the address names on the first page only.
function isSeeking() {
  const entry = sought && document.getElementById(sought);
  if (entry && steps > 0) entry.scrollIntoView();
  if (entry || steps === FURTHEST) sought = "";
  steps += 1;
  return Boolean(sought);
}

async function goOn(link) {
  watcher.unobserve(link);
  try {
    const answer = await fetch(link.href, { headers: { Accept: "text/html", "X-Part": "history" }, cache: "no-store" });
    if (!link.isConnected) return true;
    if (!answer.ok || answer.redirected) return false;
    const older = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    const part = older.querySelector(".history");
    const isFocused = document.activeElement === link;
    link.closest(".paging").replaceWith(...older.childNodes);
    part.querySelectorAll("[data-sound]").forEach(attach);
    if (isFocused) part.focus({ preventScroll: true });
    watch();
    return true;
  } catch {
    return false; // the network is away; the link leads to them
  }
}
watch();
