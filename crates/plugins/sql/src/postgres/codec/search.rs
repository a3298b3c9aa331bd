//! Full-text search.
//!
//! Takes `tsvector` and `tsquery` in binary, and lexemes; gives lexemes and text.

use std::fmt::Write as _;

use super::super::value::{Lexeme, LexemeWeight};
use super::Reason;
use super::reader::{malformed, whole};

/// The most nodes of a query that is shown. Deeper ones would take long to put together.
const MAX_NODES: usize = 10_000;

/// The text of a `tsvector`.
pub(in super::super) fn encode_vector(lexemes: &[Lexeme]) -> Result<String, Reason> {
    let mut text = String::new();
    for lexeme in lexemes {
        text.push(' ');
        quote(&lexeme.data, &mut text);
        match (lexeme.position, lexeme.weight) {
            (None, None) => {}
            (Some(position), weight) if (1..=16_383).contains(&position) => {
                let weight = match weight {
                    Some(LexemeWeight::A) => "A",
                    Some(LexemeWeight::B) => "B",
                    Some(LexemeWeight::C) => "C",
                    Some(LexemeWeight::D) | None => "",
                };
                // Writing to a string cannot fail.
                let _ = write!(text, ":{position}{weight}");
            }
            (Some(position), _) => return Err(format!("{position} is no position of a lexeme, from 1 to 16383")),
            (None, Some(_)) => return Err("a lexeme has a weight without a position".to_owned()),
        }
    }
    Ok(text)
}

fn quote(word: &str, text: &mut String) {
    text.push('\'');
    for char in word.chars() {
        if matches!(char, '\'' | '\\') {
            text.push(char);
        }
        text.push(char);
    }
    text.push('\'');
}

pub(in super::super) fn decode_vector(raw: &[u8]) -> Result<Vec<Lexeme>, Reason> {
    whole(raw, |reader| {
        let mut lexemes = Vec::new();
        for _ in 0..reader.count(3)? {
            let data = reader.c_str()?;
            let positions = reader.u16()?;
            if positions == 0 {
                lexemes.push(Lexeme { position: None, weight: None, data: data.to_owned() });
            }
            for _ in 0..positions {
                let position = reader.u16()?;
                let weight = match position >> 14 {
                    3 => LexemeWeight::A,
                    2 => LexemeWeight::B,
                    1 => LexemeWeight::C,
                    _ => LexemeWeight::D,
                };
                let (position, weight) = (Some(position & 0x3fff), Some(weight));
                lexemes.push(Lexeme { position, weight, data: data.to_owned() });
            }
        }
        Ok(lexemes)
    })
}

enum Node {
    Word(String),
    Operator(u8, u16),
}

/// The text of a `tsquery`. Its nodes come with the operator first, then the right operand, then the left one.
pub(in super::super) fn decode_query(raw: &[u8]) -> Result<String, Reason> {
    let nodes = whole(raw, |reader| {
        let count = reader.count(2)?;
        if count > MAX_NODES {
            return Err(format!("a tsquery of {count} nodes is too large"));
        }
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            nodes.push(match reader.u8()? {
                1 => {
                    let (weights, prefix) = (reader.u8()?, reader.u8()?);
                    Node::Word(word(reader.c_str()?, weights, prefix != 0))
                }
                2 => match reader.u8()? {
                    4 => Node::Operator(4, reader.u16()?),
                    operator @ 1..=3 => Node::Operator(operator, 0),
                    _ => return Err(malformed()),
                },
                _ => return Err(malformed()),
            });
        }
        Ok(nodes)
    })?;
    // From the last node on, operands are complete before their operator.
    let mut operands: Vec<(u8, String)> = Vec::new();
    for node in nodes.into_iter().rev() {
        let node = match node {
            Node::Word(word) => (u8::MAX, word),
            Node::Operator(1, _) => {
                let (priority, operand) = operands.pop().ok_or_else(malformed)?;
                (4, format!("!{}", parenthesized(operand, priority < 4)))
            }
            Node::Operator(operator, distance) => {
                let right = operands.pop().ok_or_else(malformed)?;
                let left = operands.pop().ok_or_else(malformed)?;
                join(operator, distance, left, right)
            }
        };
        operands.push(node);
    }
    match operands.pop() {
        None => Ok(String::new()),
        Some((_, text)) if operands.is_empty() => Ok(text),
        Some(_) => Err(malformed()),
    }
}

fn join(operator: u8, distance: u16, left: (u8, String), right: (u8, String)) -> (u8, String) {
    let (priority, sign) = match operator {
        2 => (2, " & ".to_owned()),
        3 => (1, " | ".to_owned()),
        _ if distance == 1 => (3, " <-> ".to_owned()),
        _ => (3, format!(" <{distance}> ")),
    };
    let mut text = parenthesized(left.1, left.0 < priority);
    text.push_str(&sign);
    // The distance of words depends on how phrases are nested.
    text.push_str(&parenthesized(right.1, right.0 < priority || (priority == 3 && right.0 == 3)));
    (priority, text)
}

fn parenthesized(text: String, needed: bool) -> String {
    if needed { format!("( {text} )") } else { text }
}

fn word(data: &str, weights: u8, prefix: bool) -> String {
    let mut text = String::new();
    quote(data, &mut text);
    if prefix || weights != 0 {
        text.push(':');
    }
    if prefix {
        text.push('*');
    }
    for (bit, name) in [(8, 'A'), (4, 'B'), (2, 'C'), (1, 'D')] {
        if weights & bit != 0 {
            text.push(name);
        }
    }
    text
}
