/**
 * Turns in a shared document. Where several people have one notebook open, every page hears the kernel, and two
 * that replace the same output at once leave it there twice. So pages act one after the other, and those behind
 * find that nothing is left to do; where the first one is gone, the next acts a little later.
 */

const TURN_MS = 2000;
const timersOf = new WeakMap();

/** How many pages come before this one; 0 where a document is not shared. */
function rankOf(shared) {
  const awareness = shared?.awareness;
  const states = awareness?.getStates?.();
  if (!states) return 0;
  return [...states.keys()].filter((id) => id < awareness.clientID).length;
}

/**
 * Calls `act` at once, or when it is this page's turn. A later call with the same key takes the place of one that
 * still waits: what it would write is out of date. `act` itself checks what is left to do.
 * @param {any} document the notebook's model
 * @param {string} key what is changed
 * @param {() => void} act
 */
export function inTurn(document, key, act) {
  const timers = timersOf.get(document) ?? new Map();
  timersOf.set(document, timers);
  clearTimeout(timers.get(key));
  timers.delete(key);
  const rank = rankOf(document.sharedModel);
  if (rank === 0) {
    act();
    return;
  }
  timers.set(key, setTimeout(() => {
    timers.delete(key);
    if (!document.isDisposed && !document.readOnly) act();
  }, rank * TURN_MS));
}
