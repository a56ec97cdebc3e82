//! Tasks whose types do not fit.

use apium_app::signature::group::group;
use apium_app::signature::join::join;
use apium_app::signature::signature::Signature;

fn number() -> Signature<(), i64> {
    panic!()
}

fn twice() -> Signature<i64, i64> {
    panic!()
}

fn shout() -> Signature<String, String> {
    panic!()
}

fn sum() -> Signature<Vec<i64>, i64> {
    panic!()
}

fn pair() -> Signature<(i64, String), String> {
    panic!()
}

fn a_number_is_no_text() {
    let _ = number() | twice() | shout();
}

fn all_arguments_are_given_on_the_right() {
    let _ = number() | number();
}

fn the_body_of_a_chord_takes_a_list() {
    let _ = group([number(), number()]) | twice();
}

fn the_list_has_other_items() {
    let _ = group([number() | twice(), number()]) | shout();
}

fn each_member_takes_the_result_before() {
    let _ = number() | group([shout(), shout()]);
}

fn a_group_has_one_type() {
    let _ = group([number(), number() | shout().cast::<i64, String>()]);
}

fn a_join_has_a_tuple() {
    let _ = join((number(), number())) | pair();
}

fn members_of_a_join_take_the_same() {
    let _ = join((number(), twice()));
}

fn a_chord_by_name() {
    let _ = apium_app::signature::chain::chord([number()], twice());
}

fn a_callback_that_takes_another_type() {
    let _ = number().on_success(shout());
}

fn a_chain_that_grows_into_another_type() {
    let mut chain = number();
    chain |= sum();
}

fn main() {}
