//! A thread's rest: a token, which a rest takes and an unpark leaves.

use std::sync::Arc;
use std::time::Duration;

use super::place::Place;
use super::time;

pub(crate) struct Parker(Unparker);

#[derive(Clone)]
pub(crate) struct Unparker(Arc<Place<bool>>);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(Unparker(Arc::new(Place::new(false))))
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park_timeout(&self, span: Duration) {
        let until = time::after(span);
        let take = |token: &mut bool| std::mem::take(token).then_some(());
        let _ = self.0.0.wait_until(until, take);
    }
}

impl Unparker {
    pub(crate) fn unpark(&self) {
        self.0.change(|token| *token = true);
    }
}
