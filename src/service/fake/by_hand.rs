//! What tests of things that are held do with a node, a step at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Fake, Manner, fake};
use crate::keys::KeyRange;
use crate::service::Session;
use crate::store::Store;
use crate::time::Instant;

/// One that answers at once.
pub(in crate::service) fn node() -> (Arc<Fake>, Store) {
    fake(Manner::AnswerAtOnce)
}

pub(in crate::service) fn open(store: &Store) -> Session {
    store.session(Duration::from_secs(10)).wait().unwrap()
}

/// What it has to say now.
pub(in crate::service) fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The same, once those who watch have been told of what was written.
pub(in crate::service) fn told<F: Future + Unpin>(
    node: &Fake,
    future: &mut F,
) -> Option<F::Output> {
    node.advance(Instant::default());
    now(future)
}

/// All keys that there are.
pub(in crate::service) fn keys(store: &Store) -> Vec<String> {
    let all = store.range(KeyRange::all()).serializable().wait().unwrap();
    all.kvs.iter().map(|kv| String::from_utf8(kv.key().to_vec()).unwrap()).collect()
}
