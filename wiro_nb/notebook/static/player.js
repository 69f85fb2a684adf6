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
 * @typedef {{video: HTMLVideoElement, duration: number}} Clip
 * @param {{length: number, fps: number, onTime: (seconds: number) => void, onState: (playing: boolean) => void}} options
 */
export function makePlayer(options) {
  /** @type {Map<HTMLVideoElement, Clip>} */
  const clips = new Map();
  let time = 0;
  let anchor = 0;
  let playing = false;
  let running = false;
  let loop = true;
  let timer = 0;
  let attempt = 0;
  let { length, fps } = options;

  const now = () => (running ? time + (performance.now() - anchor) / 1000 : time);
  const lastFrame = (duration) => Math.max(0, duration - 0.5 / fps);
  // A hair past the frame's edge: rounding must not show the frame before.
  const target = (clip, at) => Math.min(at + 0.001, lastFrame(clip.duration));

  function place(clip, at, slack_s = 0.25 / fps) {
    const wanted = target(clip, at);
    if (clip.video.readyState === 0) return;
    if (Math.abs(clip.video.currentTime - wanted) > slack_s) clip.video.currentTime = wanted;
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
      if (mine !== attempt || !playing) return;
    }
    if (mine !== attempt || !playing) return;
    for (const clip of clips.values()) start(clip);
    anchor = performance.now();
    running = true;
    step();
  }

  function start(clip) {
    clip.video.playbackRate = 1;
    clip.video.play().catch(() => {});
  }

  function follow(clip, at) {
    const { video, duration } = clip;
    if (at >= lastFrame(duration)) {
      if (!video.paused) video.pause();
      if (!video.seeking && Math.abs(video.currentTime - lastFrame(duration)) > 0.5 / fps) place(clip, duration);
      return;
    }
    if (video.seeking || video.readyState < HAVE_CURRENT) return;
    const off = video.currentTime - at;
    if (Math.abs(off) > FAR_S) {
      video.currentTime = Math.min(at + LEAD_S, lastFrame(duration));
      return;
    }
    if (video.paused) start(clip);
    const rate = Math.abs(off) < SMALL_S ? 1 : Math.min(1.5, Math.max(0.6, 1 - off * PULL));
    if (Math.abs(rate - video.playbackRate) > 0.02) video.playbackRate = rate;
  }

  function step() {
    cancelAnimationFrame(timer);
    if (!running) return;
    const at = now();
    if (at >= length) {
      if (loop) {
        options.onTime(length);
        setOff(0);
      } else pause(length);
      return;
    }
    for (const clip of clips.values()) follow(clip, at);
    options.onTime(at);
    timer = requestAnimationFrame(step);
  }

  function pause(at = now()) {
    attempt += 1;
    time = Math.min(at, length);
    const was = playing;
    playing = running = false;
    cancelAnimationFrame(timer);
    for (const clip of clips.values()) {
      clip.video.pause();
      clip.video.playbackRate = 1;
      // Closer than for playing on: two clips must not stop on either side of a frame's edge.
      place(clip, time, SMALL_S);
    }
    options.onTime(time);
    if (was) options.onState(false);
  }

  function play() {
    if (playing || !length) return;
    playing = true;
    options.onState(true);
    setOff(time >= length - 0.5 / fps ? 0 : time);
  }

  return {
    play,
    pause: () => pause(),
    toggle: () => (playing ? pause() : play()),
    /** Goes to a moment; stays playing or paused as it was. @param {number} at seconds */
    seek(at) {
      time = Math.min(Math.max(0, at), length);
      options.onTime(time);
      if (playing) setOff(time);
      else for (const clip of clips.values()) place(clip, time);
    },
    /** Pauses and moves by frames. @param {number} count */
    stepFrames(count) {
      if (playing) pause();
      const frame = Math.round(time * fps) + count;
      this.seek(frame / fps);
    },
    /** Takes a clip in: it shows the present moment as soon as it can. */
    add(video, duration) {
      const clip = { video, duration };
      clips.set(video, clip);
      clip.onData = () => {
        clip.duration ||= video.duration || 0;
        if (!playing) place(clip, time);
      };
      video.addEventListener("loadedmetadata", clip.onData);
      place(clip, time);
    },
    remove(video) {
      const clip = clips.get(video);
      if (clip) video.removeEventListener("loadedmetadata", clip.onData);
      clips.delete(video);
      video.pause();
    },
    setLoop(on) {
      loop = on;
    },
    setLength(seconds, rate) {
      length = seconds;
      fps = rate || fps;
    },
    get time() {
      return now();
    },
    get playing() {
      return playing;
    },
    get loop() {
      return loop;
    },
    close() {
      pause();
      for (const video of [...clips.keys()]) this.remove(video);
    },
  };
}

/** @param {number} seconds @returns {string} 0:02.4 */
export function momentText(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

/** Space plays, arrows step by a frame, Home and End jump, L loops: unless a control wants the key itself. */
export function onPlayerKey(event, context) {
  const control = event.target.closest("button, input, a, textarea, summary");
  const moves = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === " " && !control) context.player.toggle();
  else if (moves && control?.type !== "range") context.player.stepFrames(moves);
  else if (event.key === "Home" && control?.type !== "range") context.player.seek(0);
  else if (event.key === "End" && control?.type !== "range") context.player.seek(context.length);
  else if (event.key.toLowerCase() === "l" && control?.tagName !== "TEXTAREA") context.setLoop(!context.player.loop);
  else if (event.key === " " && control?.type === "range") context.player.toggle();
  else return;
  event.preventDefault();
}
