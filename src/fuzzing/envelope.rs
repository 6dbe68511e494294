//! An envelope from the network: its frame, its body, and what a follower makes of it (R13,
//! raft-notes 7.3).
//!
//! What is promised:
//! - A frame is refused with one of four kinds of error and a text, or its body is decoded or
//!   refused by the name of what is wrong.
//! - What was decoded and is sealed again has the same bytes: there is one way to say a thing.
//! - A fresh follower that is handed it, twice, does not panic. It stays a follower, its term does
//!   not fall and leaps no further than the bound, and it lives on through an election; or it has
//!   been told that it lost what it acknowledged, and stops with a text.

use bytes::Bytes;

use super::deliver::{LEARNER, STRANGER, VOTERS, address, framed, replica, unknown};
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::core::replica::envelope::{Body, Envelope, HEADER_BYTES};
use crate::core::replica::io::{Input as Told, Output};
use crate::error::{Error, Kind};
use crate::ids::Term;
use crate::time::Instant;

/// The offset of the sender in a frame.
const SENDER: usize = 16;
/// A term is believed that is so far ahead of the own one.
const LEAP: u64 = 1 << 32;

/// Runs a case: an envelope as it came, byte for byte.
pub fn envelope(data: &[u8]) {
    let me = address(VOTERS[0]);
    let bytes = Bytes::copy_from_slice(data);
    let claimed = data.get(SENDER).copied().unwrap_or_default();
    let from = [VOTERS[1], VOTERS[2], LEARNER, STRANGER][usize::from(claimed) % 4];
    match Envelope::open(&me, from, bytes) {
        Ok(envelope) => opened(&envelope, data[1], &data[HEADER_BYTES..]),
        Err(error) => refused(&error),
    }
    // The same with a frame that fits, so that chance gets at the body.
    let Some(body) = data.get(HEADER_BYTES..) else { return };
    let sender = if claimed & 0x80 == 0 { address(from) } else { unknown(from) };
    let mended = framed(data[1], &sender, (me.node, me.incarnation), body);
    let envelope = Envelope::open(&me, from, mended).unwrap();
    opened(&envelope, data[1], body);
}

fn refused(error: &Error) {
    let kinds = [Kind::Invalid, Kind::Corrupt, Kind::Foreign, Kind::NewerFormat];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(error.to_string().contains("envelope"), "{error}");
}

fn opened(envelope: &Envelope, kind: u8, bytes: &[u8]) {
    match envelope.body() {
        Ok(body) => again(&body, kind, bytes),
        Err(malformed) => assert!(!malformed.what.is_empty()),
    }
    follow(envelope);
}

/// What was decoded has one encoding.
fn again(body: &Body, kind: u8, bytes: &[u8]) {
    let (me, you) = (address(VOTERS[0]), address(VOTERS[1]));
    let sealed = body.seal(&you, me.node, me.incarnation);
    assert_eq!((sealed[1], &sealed[HEADER_BYTES..]), (kind, bytes), "{body:?}");
    let opened = Envelope::open(&me, you.node, sealed).unwrap();
    assert_eq!(format!("{:?}", opened.body().unwrap()), format!("{body:?}"));
}

/// A fresh follower takes it, and goes on.
fn follow(envelope: &Envelope) {
    let (mut replica, mut now) = (replica(VOTERS[0]), Instant::default());
    let mut term = replica.status().term;
    for _ in 0..2 {
        if let Err(error) = give(&mut replica, now, Told::Deliver(envelope.clone())) {
            let text = error.to_string();
            assert!(error.is_halted(), "{error:?}");
            assert!(text.contains("are lost") || text.contains("have diverged"), "{text}");
            return;
        }
        let status = replica.status();
        assert_eq!(status.role, Role::Follower, "by one envelope");
        let near = term..=Term::new(term.get() + LEAP);
        assert!(near.contains(&status.term), "from term {term} to {}", status.term);
        assert!(status.commit <= status.last_index, "{status:?}");
        term = status.term;
    }
    for _ in 0..20 {
        now = replica.wake_at();
        give(&mut replica, now, Told::Time).unwrap();
    }
    assert!(replica.status().term >= term);
}

fn give(replica: &mut Replica, now: Instant, told: Told) -> Result<(), Error> {
    replica.handle(now, told)?;
    let mut ticket = None;
    while let Some(output) = replica.poll()? {
        if let Output::Persist(persist) = output {
            ticket = Some(persist.ticket);
        }
    }
    match ticket {
        Some(ticket) => give(replica, now, Told::Persisted(ticket)),
        None => Ok(()),
    }
}
