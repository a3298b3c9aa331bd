import stdout from "wasi:cli/stdout@0.3.0";

/** Writes a line to standard output. */
export async function print(line: string): Promise<void> {
  const written = await stdout.writeViaStream(utf8(`${line}\n`)).read();
  if (written.tag === "err") throw new Error(`standard output: ${written.val}`);
}

/** The bytes of a text in UTF-8. QuickJS has no TextEncoder. */
export function utf8(text: string): Uint8Array {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));
}
