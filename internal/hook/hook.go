// Package hook lets a black-box test move time and break things between any two steps. Built with the tag testhooks
// it holds a clock that can be moved, named failpoints and a handler for the local socket; without it the same types
// are empty, the clock is the system's, no point does anything and there is no handler.
//
// Clocks and points are made by app and injected. A nil *Clock and a nil *Points are of use: the system's time, and
// no failpoints.
package hook
