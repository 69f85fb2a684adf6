/**
 * Plays several clips in step. One clock leads; each clip follows it by small changes of its speed, and by a
 * seek when it is far off. Clips start together only when all of them have something to show.
 */

const SMALL_S = 0.004;
const FAR_S = 0.3;
const PULL = 4;
const READY_MS = 3000;
const HAVE_CURRENT = 2;
const HAVE_FUTURE = 3;
const LEAD_S = 0.06;

/**
 * @param {(seconds: number) => void} onTime called when the moment has changed
 * @param {(playing: boolean) => void} onState called when playing starts or ends
 * @returns a player; `length` (seconds), `fps` and `loop` may be set at any time
 */
export function makePlayer(onTime, onState) {
  /** @type {Map<HTMLVideoElement, {video: HTMLVideoElement, duration: number}>} */
  const clips = new Map();
  let [time, anchor, running, timer, attempt] = [0, 0, false, 0, 0];
  const player = { length: 0, fps: 16, loop: true, playing: false, play, pause, toggle: () => (player.playing ? pause() : play()), seek, stepFrames, add, remove,
    get time() { return now(); } };

  const now = () => (running ? time + (performance.now() - anchor) / 1000 : time);
  const halfFrame = () => 0.5 / player.fps;
  const lastFrame = (duration) => Math.max(0, duration - halfFrame());

  function place({ video, duration }, at, slack_s = halfFrame() / 2) {
    // A hair past the frame's edge: rounding must not show the frame before.
    const wanted = Math.min(at + 0.001, lastFrame(duration));
    if (video.readyState && Math.abs(video.currentTime - wanted) > slack_s) video.currentTime = wanted;
  }

  const isReady = ({ video, duration }, at) =>
    video.error || (!video.seeking && video.readyState >= (at >= lastFrame(duration) ? HAVE_CURRENT : HAVE_FUTURE));

  /** Puts every clip at one moment and sets off when all are there, or when waiting would take too long. */
  async function setOff(at) {
    const mine = (attempt += 1);
    running = false;
    time = at;
    for (const clip of clips.values()) {
      clip.video.pause();
      place(clip, at);
    }
    const deadline = performance.now() + READY_MS;
    while (performance.now() < deadline && ![...clips.values()].every((clip) => isReady(clip, at))) {
      await new Promise((resolve) => setTimeout(resolve, 16));
      if (mine !== attempt || !player.playing) return;
    }
    for (const clip of clips.values()) start(clip);
    anchor = performance.now();
    running = true;
    step();
  }

  function start({ video }) {
    video.playbackRate = 1;
    video.play().catch(() => {});
  }

  function follow(clip, at) {
    const { video, duration } = clip;
    const off = video.currentTime - at;
    if (at >= lastFrame(duration)) {
      if (!video.paused) video.pause();
      if (!video.seeking && Math.abs(video.currentTime - lastFrame(duration)) > halfFrame()) place(clip, duration);
    } else if (video.seeking || video.readyState < HAVE_CURRENT) return;
    else if (Math.abs(off) > FAR_S) video.currentTime = Math.min(at + LEAD_S, lastFrame(duration));
    else {
      if (video.paused) start(clip);
      const rate = Math.abs(off) < SMALL_S ? 1 : Math.min(1.5, Math.max(0.6, 1 - off * PULL));
      if (Math.abs(rate - video.playbackRate) > 0.02) video.playbackRate = rate;
    }
  }

  function step() {
    cancelAnimationFrame(timer);
    if (!running) return;
    const at = now();
    onTime(Math.min(at, player.length));
    if (at < player.length) {
      for (const clip of clips.values()) follow(clip, at);
      timer = requestAnimationFrame(step);
    } else if (player.loop) setOff(0);
    else pause();
  }

  function pause() {
    attempt += 1;
    time = Math.min(now(), player.length);
    const was = player.playing;
    player.playing = running = false;
    cancelAnimationFrame(timer);
    for (const clip of clips.values()) {
      clip.video.pause();
      clip.video.playbackRate = 1;
      // Closer than for playing on: two clips must not stop on either side of a frame's edge.
      place(clip, time, SMALL_S);
    }
    onTime(time);
    if (was) onState(false);
  }

  function play() {
    if (player.playing || !player.length) return;
    player.playing = true;
    onState(true);
    setOff(time >= player.length - halfFrame() ? 0 : time);
  }

  /** Goes to a moment; stays playing or paused as it was. @param {number} at seconds */
  function seek(at) {
    time = Math.min(Math.max(0, at), player.length);
    onTime(time);
    if (player.playing) setOff(time);
    else for (const clip of clips.values()) place(clip, time);
  }

  /** Pauses and moves by frames. @param {number} count */
  function stepFrames(count) {
    if (player.playing) pause();
    seek((Math.round(time * player.fps) + count) / player.fps);
  }

  /** Takes a clip in: it shows the present moment as soon as it can. */
  function add(video, duration) {
    const clip = { video, duration };
    clips.set(video, clip);
    video.onloadedmetadata = () => {
      clip.duration ||= video.duration || 0;
      if (!player.playing) place(clip, time);
    };
    place(clip, time);
  }

  function remove(video) {
    video.onloadedmetadata = null;
    clips.delete(video);
    video.pause();
  }

  return player;
}
