use super::*;

const FROM: NodeId = NodeId::new(7);

fn address(cluster: u64, node: u64) -> Address {
    let incarnation = Incarnation::new(node + 100);
    Address { cluster: ClusterId::new(cluster), node: NodeId::new(node), incarnation }
}

fn to() -> Address {
    address(1, 8)
}

fn sealed(body: &Body) -> Bytes {
    body.seal(&address(1, 7), to().node, to().incarnation)
}

fn bodies() -> Vec<Body> {
    let writes = vec![Bytes::from_static(b"one"), Bytes::new()];
    let bytes = Bytes::from_static(b"a piece");
    let acks = [ChunkStage::Receiving, ChunkStage::Done, ChunkStage::Refused]
        .map(|stage| Body::ChunkAck { transfer: 3, have: 4, stage });
    let others = [
        Body::Forward(writes),
        Body::Read { request: 5 },
        Body::ReadAnswer { request: 5, index: Index::new(6) },
        Body::Chunk { transfer: 1, offset: 2, bytes },
    ];
    others.into_iter().chain(acks).collect()
}

#[test]
fn what_is_sealed_opens_to_the_same() {
    for body in bodies() {
        let opened = Envelope::open(&to(), FROM, sealed(&body)).unwrap();
        assert_eq!(opened.from, FROM);
        assert_eq!(opened.from_incarnation, Incarnation::new(107));
        assert_eq!(opened.to_incarnation, to().incarnation);
        assert_eq!(format!("{:?}", opened.body().unwrap()), format!("{body:?}"));
    }
}

/// MEM-4, and everything else that a frame may say and this node is not.
#[test]
fn an_envelope_for_somebody_else_is_refused() {
    let bytes = sealed(&Body::Read { request: 5 });
    let open = |to, from| Envelope::open(&to, NodeId::new(from), bytes.clone());
    assert!(open(address(1, 8), 7).is_ok());
    let foreign = open(address(2, 8), 7).unwrap_err();
    assert!(foreign.is_foreign(), "{foreign}");
    assert_eq!(foreign.to_string(), "envelope refused: cluster 1 is not 2");
    let refused = [(address(1, 9), 7, "another receiver"), (address(1, 8), 9, "another sender")];
    for (to, from, what) in refused {
        let error = open(to, from).unwrap_err();
        assert!(error.is_invalid(), "{what}: {error}");
    }
    let own = Body::Read { request: 5 }.seal(&to(), to().node, to().incarnation);
    assert!(Envelope::open(&to(), to().node, own).unwrap_err().is_invalid(), "its own voice");
}

#[test]
fn a_cut_or_changed_envelope_is_refused() {
    for body in bodies() {
        let bytes = sealed(&body);
        for len in 0..bytes.len() {
            let error = Envelope::open(&to(), FROM, bytes.slice(..len)).unwrap_err();
            assert!(error.is_corrupt() || error.is_invalid(), "{len} bytes of {body:?}: {error}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = BytesMut::from(&*bytes);
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = Envelope::open(&to(), FROM, changed.freeze()).unwrap_err();
            let newer = error.is_newer_format() && bit < 8;
            assert!(error.is_corrupt() || newer, "bit {bit} of {body:?}: {error}");
        }
    }
}

/// A frame may be whole and its body nonsense: a member whose code is wrong, or an attacker.
#[test]
fn a_body_that_cannot_be_is_refused() {
    for kind in 0..=u8::MAX {
        for body in [b"".as_slice(), &[0xff; 7], &[0xff; 64]] {
            let (from_incarnation, to_incarnation) = (Incarnation::new(1), Incarnation::new(2));
            let body = Bytes::from(body);
            let envelope = Envelope { from: FROM, from_incarnation, to_incarnation, kind, body };
            assert!(envelope.body().is_err(), "kind {kind}: {envelope:?}");
        }
    }
}
