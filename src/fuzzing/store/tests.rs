//! The machines beside the model, led by chance. A program that fails is made shorter.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::*;

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    /// Steps are drawn as a fuzzer's are: zeros are the plainest, and bytes shrink towards them.
    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let horizon = state.horizon();
        let bytes = vec(any::<u8>(), 0..40);
        bytes.prop_map(move |bytes| Step::draw(&mut Input::new(&bytes), horizon)).boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        Self::apply(&mut state, step);
        state
    }
}

impl StateMachineTest for Stores {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Self {
        Self::new()
    }

    fn apply(mut stores: Self, reference: &Reference, step: Step) -> Self {
        Self::apply(&mut stores, &step, reference);
        stores.check(&reference.model);
        stores
    }

    fn teardown(mut stores: Self, reference: Reference) {
        stores.finish(&reference.model);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn kv_1_txn_1_cmp_1_hsh_1_the_machine_does_what_the_model_does(sequential 1..60 => Stores);
}
