// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package budget decides which phone numbers may lose add-ons now, and which are held.
//
// Counted are distinct numbers that lose at least one add-on in a window. The first
// minNumbers of a window go at once. Beyond them the demand is looked at first: once no
// further number has asked for 30 seconds, all go if the total is within the limit, and
// otherwise none do. That is a hold: a quarantine, not a throttle that finishes a mistake
// by morning. A hold ends when it is approved by its name, when nothing waits any more, or
// when what waits has come within the limit.
//
// [Decide] is data in, data out: no client, no clock, no log. It must never
//   - grant a removal that is not in the State it returns, so that a caller who writes the
//     State first can crash at any point and another leader spends nothing twice;
//   - free budget early. A count ends one window after the last moment at which the
//     removal was allowed to happen. A clock that is set back makes counts last longer, one
//     that is set forward ends them earlier by that step and no more;
//   - end, shrink or approve a hold on a partial view of the demand (Input.Complete);
//   - extend an approval to a number that did not wait when it was given.
//
// # What is on record
//
// A number that was counted must not be counted again in its window, and must go on after
// a crash, so the numbers themselves are on record and not just how many they are: 48 bits
// of a hash of each SID, eight characters, in groups by the time until which they may be
// removed. Groups are a twelfth of the window apart and that time is rounded up, so a
// number counts for at most a sixth of the window too long. As long as a counted number
// still asks it is granted anew in each group: what was granted can be late by hours
// (Twilio throttles), and no window sees more than the limit.
//
// Two numbers of one hash count as one. In an account of 100,000 numbers, of which a
// quarter is counted, the chance that any other is taken for one of these is about 1 in
// 150,000.
//
// Numbers that were approved are on record too, until they no longer ask, and do not
// count against the limit. Held numbers are not: they are what asks and is not granted, and
// each object says in its own status that it is held. On record is only the hold's name,
// how many it holds and five examples.
//
// Counted and approved numbers together are at most 125,000 (one megabyte; etcd takes one
// and a half): enough to approve a whole account of 100,000 beside a quarter of it that was
// counted. What would exceed that is held.
package budget
