// Edits as they change, from the server.
//
// A browser holds few connections to a server, and each stream takes one for as long as it lasts.
// So one tab holds the stream and passes it on to the others; when it closes, another takes over.

export function listen(changed, connected) {
  const others = new BroadcastChannel("studio");
  others.onmessage = ({ data }) => (data ? changed(data) : connected());
  const hold = () => {
    const stream = new EventSource("/events");
    stream.onopen = () => { connected(); others.postMessage(null); };
    stream.onmessage = ({ data }) => {
      const edit = JSON.parse(data);
      changed(edit);
      others.postMessage(edit);
    };
    return new Promise(() => {}); // until this tab closes
  };
  if (navigator.locks) navigator.locks.request("studio-events", hold);
  else hold(); // not a secure context: every tab has a stream of its own
}
