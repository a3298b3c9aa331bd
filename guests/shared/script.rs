// What a request has a guest do with its answer, one operation after the other. Included by the guests that answer so.

/// An operation of a script such as `status 200; header content-length 35; body; write 59; respond`.
enum Op {
    Status(u16),
    /// A header's value is in hexadecimal, so that it can be anything.
    Header(String, Vec<u8>),
    Trailer(String, Vec<u8>),
    /// Opens the body, before which there is nothing to write to.
    Body,
    Write(usize),
    Flush,
    DropStream,
    DropBody,
    /// Neither finishes the body nor drops it.
    Leak,
    Finish,
    Respond,
    Error,
    ReadBody,
    Sleep(u64),
    Trap,
}

fn script(text: &str) -> Vec<Op> {
    text.split(';').filter_map(|op| parse(op.trim())).collect()
}

fn parse(op: &str) -> Option<Op> {
    let mut words = op.split(' ');
    let name = words.next()?;
    let mut word = || words.next().unwrap_or_default();
    Some(match name {
        "status" => Op::Status(word().parse().ok()?),
        "header" => Op::Header(word().into(), bytes(word())),
        "trailer" => Op::Trailer(word().into(), bytes(word())),
        "body" => Op::Body,
        "write" => Op::Write(word().parse().ok()?),
        "flush" => Op::Flush,
        "drop-stream" => Op::DropStream,
        "drop-body" => Op::DropBody,
        "leak" => Op::Leak,
        "finish" => Op::Finish,
        "respond" => Op::Respond,
        "error" => Op::Error,
        "read-body" => Op::ReadBody,
        "sleep" => Op::Sleep(word().parse().ok()?),
        "trap" => Op::Trap,
        _ => return None,
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)).collect()
}

/// So many bytes that a client could take for answers of their own.
fn forged(count: usize) -> Vec<u8> {
    let answer = b"HTTP/1.1 200 OK\r\nx-forged: yes\r\ncontent-length: 6\r\n\r\nforged";
    answer.iter().copied().cycle().take(count).collect()
}
