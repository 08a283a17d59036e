// Package dns makes events of what goes between processes and DNS servers, and
// remembers which names the addresses have that came of it. It is pure: what it is
// told is all that it knows, of the time too.
//
//   - [Tracker] pairs questions with their answers, over UDP and TCP.
//   - [Names] says by which name a process knows an address.
//   - [Counters] counts by bounded sets of labels.
//
// None of them is safe for concurrent use.
package dns
