/**
 * Sends a file to the kernel in pieces, and reads what a browser can tell of it: a small picture, its
 * size, its length. Never more than two pieces are on their way, so that a default server and a busy
 * kernel keep up.
 */
import { freshId } from "./dom.js";

const IN_FLIGHT = 2;
const THUMB_WIDTH = 176;
const PIECE_BYTES = 1_000_000;
const SILENCE_MS = 4000;
const PEEK_MS = 3000;

/** Size of a picture or of a video's present frame, and a small JPEG of it. */
function pictureFacts(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(THUMB_WIDTH, width);
  canvas.height = Math.max(1, Math.round((canvas.width * height) / width));
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return { width, height, thumb: canvas.toDataURL("image/jpeg", 0.7) };
}

/** Resolves when `event` comes; rejects on an error or when it takes too long. */
function heard(node, event) {
  return new Promise((resolve, reject) => {
    node.addEventListener(event, resolve, { once: true });
    node.addEventListener("error", () => reject(new Error("unreadable")), { once: true });
    setTimeout(() => reject(new Error("slow")), PEEK_MS);
  });
}

async function clipFacts(file) {
  const isAudio = file.type.startsWith("audio/");
  const clip = document.createElement(isAudio ? "audio" : "video");
  Object.assign(clip, { muted: true, preload: "auto", src: URL.createObjectURL(file) });
  try {
    await heard(clip, isAudio ? "loadedmetadata" : "loadeddata");
    const facts = { duration_s: Number.isFinite(clip.duration) ? clip.duration : null };
    if (isAudio) return facts;
    const seeked = heard(clip, "seeked");
    clip.currentTime = Math.min(0.5, (clip.duration || 0) / 2);
    await seeked;
    return { ...facts, ...pictureFacts(clip, clip.videoWidth, clip.videoHeight) };
  } finally {
    URL.revokeObjectURL(clip.src);
    clip.removeAttribute("src");
    clip.load();
  }
}

/** What the browser can tell of a file; nothing when it cannot read it. */
export async function fileFacts(file) {
  try {
    if (/^(video|audio)\//.test(file.type)) return await clipFacts(file);
    if (!file.type.startsWith("image/")) return {};
    const bitmap = await createImageBitmap(file);
    return pictureFacts(bitmap, bitmap.width, bitmap.height);
  } catch {
    return {}; // a type this browser cannot decode
  }
}

/** Sends one file; resolves when the kernel has it, rejects with the reason in words. */
export async function sendFile(model, file, facts, { onProgress, onSilence, signal }) {
  if (signal.aborted) throw new Error("");
  const upload = freshId("upload");
  let [seq, silence, onMessage] = [0, null, null];
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => onSilence(true), SILENCE_MS);
  };
  const sendPiece = async () => {
    if (seq * PIECE_BYTES >= file.size) return;
    const number = seq;
    seq += 1;
    const bytes = await file.slice(number * PIECE_BYTES, seq * PIECE_BYTES).arrayBuffer();
    if (!signal.aborted) model.send({ type: "chunk", upload, seq: number }, undefined, [bytes]);
  };
  const sent = new Promise((resolve, reject) => {
    // Pieces are read one after another, so that they leave in order.
    let queue = Promise.resolve();
    onMessage = (content) => {
      if (content?.upload !== upload) return;
      onSilence(false);
      listen();
      if (content.type === "ack") {
        onProgress(content.received / file.size);
        for (let count = content.received ? 1 : IN_FLIGHT; count > 0; count -= 1) queue = queue.then(sendPiece);
        queue.catch(reject);
      } else if (content.type === "done") resolve();
      else if (content.type === "refused") reject(new Error(content.message));
    };
    signal.addEventListener("abort", () => {
      model.send({ type: "abort", upload });
      reject(new Error(""));
    });
  });
  model.on("msg:custom", onMessage);
  listen();
  model.send({ type: "begin", upload, name: file.name, size: file.size, ...facts });
  return sent.finally(() => {
    clearTimeout(silence);
    model.off("msg:custom", onMessage);
  });
}
