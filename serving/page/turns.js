// A few uploads at a time, the others in order.

/** A function that runs what it is given, at most `most` at a time; a signal ends the waiting. */
export function turns(most) {
  let running = 0;
  const waiting = [];
  const next = () => {
    if (running < most) waiting.shift()?.();
  };
  return async function inTurn(work, signal) {
    await new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const begin = () => {
        running += 1;
        resolve();
      };
      waiting.push(begin);
      signal?.addEventListener("abort", () => {
        const place = waiting.indexOf(begin);
        if (place >= 0) waiting.splice(place, 1);
        reject(signal.reason);
      });
      next();
    });
    try {
      return await work();
    } finally {
      running -= 1;
      next();
    }
  };
}
