//! As much of EDN as there is in a history, read from its definition and not from what writes it.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edn {
    Nil,
    Bool(bool),
    Number(i64),
    Text(String),
    Keyword(String),
    Vector(Vec<Self>),
    /// Keys are keywords.
    Map(BTreeMap<String, Self>),
}

/// Reads one value; there must be no more than that.
pub(super) fn read(text: &str) -> Edn {
    let mut rest = text.chars().peekable();
    let value = value(&mut rest).unwrap_or_else(|| panic!("not EDN: {text}"));
    blank(&mut rest);
    assert_eq!(rest.next(), None, "more than one value: {text}");
    value
}

/// A comma is white space.
fn blank(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
}

fn value(rest: &mut Peekable<Chars<'_>>) -> Option<Edn> {
    blank(rest);
    match rest.peek()? {
        '{' => {
            let all = until(rest, '}')?;
            let pairs = all.chunks(2).map(|pair| match pair {
                [Edn::Keyword(key), value] => Some((key.clone(), value.clone())),
                _ => None,
            });
            let map: BTreeMap<String, Edn> = pairs.collect::<Option<_>>()?;
            (map.len() * 2 == all.len()).then_some(Edn::Map(map))
        }
        '[' => until(rest, ']').map(Edn::Vector),
        '"' => text(rest).map(Edn::Text),
        ':' => {
            rest.next();
            Some(Edn::Keyword(word(rest)))
        }
        _ => match word(rest).as_str() {
            "nil" => Some(Edn::Nil),
            "true" => Some(Edn::Bool(true)),
            "false" => Some(Edn::Bool(false)),
            number => number.parse().ok().map(Edn::Number),
        },
    }
}

fn until(rest: &mut Peekable<Chars<'_>>, end: char) -> Option<Vec<Edn>> {
    rest.next();
    let mut all = Vec::new();
    loop {
        blank(rest);
        if rest.next_if_eq(&end).is_some() {
            return Some(all);
        }
        all.push(value(rest)?);
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
        word.push(c);
    }
    word
}

fn text(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    rest.next();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                'u' => {
                    let hex: String = rest.by_ref().take(4).collect();
                    text.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                }
                c @ ('"' | '\\') => text.push(c),
                _ => return None,
            },
            c => text.push(c),
        }
    }
}
