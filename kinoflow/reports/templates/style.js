// A button above the films of a clip plays all of them from their beginning, at the same time; once
// more, it stops them.
for (const clip of document.querySelectorAll(".clips")) {
  const films = [...clip.querySelectorAll("video")];
  if (films.length < 2) continue;
  const button = document.createElement("button");
  const playing = () => films.some((film) => !film.paused);
  const tell = () => { button.textContent = playing() ? "Stop" : "Play together"; };
  button.addEventListener("click", () => {
    const stop = playing();
    for (const film of films) {
      if (stop) film.pause();
      else { film.currentTime = 0; film.play(); }
    }
  });
  for (const film of films) ["play", "pause"].forEach((what) => film.addEventListener(what, tell));
  tell();
  clip.before(button);
}
