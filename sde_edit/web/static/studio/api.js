// Requests to the server. One that fails throws an Error with the server's sentence.

async function answered(answer) {
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

export async function get(path) {
  return answered(await fetch(path));
}

export async function post(path, body, signal) {
  return answered(await fetch(path, { method: "POST", body, signal }));
}

export const imageOf = (token) => `/images/${token}`;

export async function loaded(token) {
  const image = new Image();
  image.src = imageOf(token);
  await image.decode();
  return image;
}
