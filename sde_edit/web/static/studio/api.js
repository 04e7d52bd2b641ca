// Requests to the server. One that is refused throws an Error with the server's sentence.

async function answered(answer) {
  if (!answer.ok) throw new Error(await answer.text());
  const found = await answer.json();
  if (found.refused !== undefined) throw new Error(found.refused);
  return found;
}

export async function get(path) {
  return answered(await fetch(path));
}

export async function post(path, body) {
  return answered(await fetch(path, { method: "POST", body }));
}

export const imageOf = (token) => `/images/${token}`;

export async function loaded(token) {
  const image = new Image();
  image.src = imageOf(token);
  await image.decode();
  return image;
}
