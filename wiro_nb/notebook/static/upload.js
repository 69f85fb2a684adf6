/**
 * Sends a file to the kernel in pieces, and reads what a browser can tell of it: a small picture, its
 * size, its length. Never more than two pieces are on their way, so that a default server and a busy
 * kernel keep up.
 */
import { freshId } from "./dom.js";

const IN_FLIGHT = 2;
const THUMB_WIDTH = 176;
const SILENCE_MS = 4000;
const PEEK_MS = 3000;

/** A small JPEG of a picture or of a video's present frame. */
function thumbOf(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.min(THUMB_WIDTH, width);
  canvas.height = Math.max(1, Math.round((canvas.width * height) / width));
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.7);
}

/** Resolves when `event` comes; rejects on an error or when it takes too long. */
function heard(node, event) {
  return new Promise((resolve, reject) => {
    node.addEventListener(event, resolve, { once: true });
    node.addEventListener("error", () => reject(new Error("unreadable")), { once: true });
    setTimeout(() => reject(new Error("slow")), PEEK_MS);
  });
}

async function pictureFacts(file) {
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const facts = { width, height, thumb: thumbOf(bitmap, width, height) };
  bitmap.close();
  return facts;
}

async function clipFacts(file) {
  const address = URL.createObjectURL(file);
  const clip = document.createElement(file.type.startsWith("audio/") ? "audio" : "video");
  clip.muted = true;
  clip.preload = "auto";
  try {
    const ready = heard(clip, clip.tagName === "AUDIO" ? "loadedmetadata" : "loadeddata");
    clip.src = address;
    await ready;
    const facts = { duration_s: Number.isFinite(clip.duration) ? clip.duration : null };
    if (clip.tagName === "AUDIO") return facts;
    const there = heard(clip, "seeked");
    clip.currentTime = Math.min(0.5, (clip.duration || 0) / 2);
    await there;
    return { ...facts, width: clip.videoWidth, height: clip.videoHeight, thumb: thumbOf(clip, clip.videoWidth, clip.videoHeight) };
  } finally {
    clip.removeAttribute("src");
    clip.load();
    URL.revokeObjectURL(address);
  }
}

/** What the browser can tell of a file; nothing when it cannot read it. */
export async function fileFacts(file) {
  try {
    if (file.type.startsWith("image/")) return await pictureFacts(file);
    if (/^(video|audio)\//.test(file.type)) return await clipFacts(file);
  } catch {
    // A type this browser cannot decode: the file goes without a picture.
  }
  return {};
}

/** Sends one file; resolves when the kernel has it, rejects with the reason in words. */
export function sendFile(model, file, facts, { onProgress, onSilence, signal }) {
  const upload = freshId("upload");
  const size = model.get("chunk_bytes");
  return new Promise((resolve, reject) => {
    let sent = 0;
    let seq = 0;
    let acknowledged = 0;
    let silence = null;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => onSilence(true), SILENCE_MS);
    };
    const finish = (settle, value) => {
      clearTimeout(silence);
      model.off("msg:custom", onMessage);
      settle(value);
    };
    const pump = async () => {
      while (sent < file.size && sent - acknowledged < IN_FLIGHT * size) {
        const piece = file.slice(sent, sent + size);
        const number = seq;
        sent += piece.size;
        seq += 1;
        const bytes = await piece.arrayBuffer();
        if (signal.aborted) return;
        model.send({ type: "chunk", upload, seq: number }, undefined, [bytes]);
      }
    };
    // Pieces are read one after another, so that they leave in order.
    let queue = Promise.resolve();
    const onMessage = (content) => {
      if (content?.upload !== upload) return;
      onSilence(false);
      listen();
      if (content.type === "ack") {
        acknowledged = content.received;
        onProgress(acknowledged / file.size);
        queue = queue.then(pump).catch((error) => finish(reject, error));
      } else if (content.type === "done") finish(resolve, undefined);
      else if (content.type === "refused") finish(reject, new Error(content.message));
    };
    signal.addEventListener("abort", () => {
      model.send({ type: "abort", upload });
      finish(reject, new Error(""));
    });
    model.on("msg:custom", onMessage);
    listen();
    model.send({ type: "begin", upload, name: file.name, size: file.size, ...facts });
  });
}
