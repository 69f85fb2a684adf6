/**
 * Turns in a shared document. Where several people have one notebook open, every page hears the kernel, and two
 * that replace the same output at once leave it there twice. So pages act one after the other, and those behind
 * find that nothing is left to do; where the first one is gone, the next acts a little later.
 */

const TURN_MS = 2000;
const LAST_RANK = 3;
const RANK = Symbol.for("wiro_nb.rank");
const timersOf = new WeakMap();

/**
 * Keeps how many pages come before this one, as the kernel tells: the page that opened last is the first.
 * @param {any} document the notebook's model
 * @param {string[]} pages the pages that the kernel knows, in their order
 * @param {string} own this page
 */
export function keepRank(document, pages, own) {
  document[RANK] = pages.includes(own) ? pages.indexOf(own) : pages.length;
}

/** How many pages come before this one. Until the kernel has answered, those whose id in the document is lower. */
function rankOf(document) {
  const { awareness } = document.sharedModel;
  const before = [...(awareness?.getStates?.().keys() ?? [])].filter((id) => id < awareness.clientID);
  return Math.min(document[RANK] ?? before.length, LAST_RANK);
}

/**
 * Calls `act` at once, or when it is this page's turn. A later call with the same key takes the place of one that
 * still waits: what it would write is out of date. `act` itself checks what is left to do.
 * @param {any} document the notebook's model
 * @param {string} key what is changed
 * @param {() => void} act
 * @param {number} behind turns to let pass first, for what another page may be doing by itself
 */
export function inTurn(document, key, act, behind = 0) {
  const timers = timersOf.get(document) ?? new Map();
  timersOf.set(document, timers);
  clearTimeout(timers.get(key));
  timers.delete(key);
  const turns = document.collaborative ? rankOf(document) + behind : 0;
  if (turns === 0) {
    act();
    return;
  }
  timers.set(key, setTimeout(() => {
    timers.delete(key);
    if (!document.isDisposed && !document.readOnly) act();
  }, turns * TURN_MS));
}
