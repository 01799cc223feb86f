//! A group's whole life.

use super::world::World;

#[test]
fn two_consumers_join_sync_commit_and_leave() {
    World::new().run(
        "
        join - => MEMBER_ID_REQUIRED c-1
        join c-1 =>
        join - => MEMBER_ID_REQUIRED c-3
        join c-3 =>
        log => g in 0 []
        # The first rebalance waits for three seconds, and for three more as one joined meanwhile.
        tick 2999 =>
        tick 3001 => #2 c-1 in 1 of c-1 range [c-1 c-3]; #4 c-3 in 1 of c-1 range []
        describe g => g CompletingRebalance consumer: [c-1=nothing c-3=nothing]
        sync c-3 1 =>
        sync c-1 1 c-1:t0 c-3:t1 => assigned t0; #6 assigned t1
        log => g in 1 [c-1=t0 c-3=t1]
        describe g => g Stable consumer:range [c-1=t0 c-3=t1]
        beat c-3 1 => alive
        commit c-3 1 t-1:7 => committed
        log => g/t-1=7
        fetch => t-1=7
        fetch t-0 t-1 => t-0=-1 t-1=7
        leave c-3 => left
        beat c-1 1 => REBALANCE_IN_PROGRESS
        join c-1 => c-1 in 2 of c-1 range [c-1]
        sync c-1 2 c-1:all => assigned all
        beat c-3 1 => UNKNOWN_MEMBER_ID
        commit c-1 1 t-0:1 => ILLEGAL_GENERATION
        commit c-1 2 t-0:1 => committed
        leave c-1 => left
        log => g in 2 [c-1=all]; g/t-0=1; g in 3 []
        list => g:consumer:Empty:classic
        fetch => t-0=1 t-1=7
        delete g => g deleted
        log => g/t-0=gone; g/t-1=gone; g gone
        describe g => g Dead : []
        fetch => none
        ",
    );
}
