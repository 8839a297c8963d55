package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/leafward/leafward"
)

// words are the command line of a command that takes flags and nothing else. A parser gives up at the first thing that
// is wrong; they are read word by word, so that a person is told of all at once.
type words struct {
	command string
	flags   []*kong.Flag
	good    []string // what the parser takes
	wrong   []leafward.Field
}

// readWords sorts the arguments of a command, whose flags are the fields of grammar, into good and wrong ones.
func readWords(command string, grammar any, args []string) (*words, error) {
	parser, err := kong.New(grammar)
	if err != nil {
		return nil, err
	}
	w := &words{command: command, flags: parser.Model.Flags}
	for len(args) > 0 {
		args = args[w.take(args):]
	}
	return w, nil
}

// take sorts the first argument and the value that follows it, and returns how many these were.
func (w *words) take(args []string) int {
	name, value, given := strings.Cut(args[0], "=")
	flag := w.flag(name)
	switch {
	case args[0] == "":
		w.refuse("an argument", "is empty", "leave it out, or give it a value; a variable of the shell may not be set")
	case !strings.HasPrefix(name, "-"):
		w.refuse(fmt.Sprintf("%q", args[0]), "is no flag, and "+w.command+" takes nothing else", "")
	case flag == nil:
		w.refuse(name, "is not a flag of "+w.command, "")
		if !given && len(args) > 1 && !strings.HasPrefix(args[1], "-") {
			return 2 // its value
		}
	case flag.IsBool():
		if given && value != "true" && value != "false" {
			w.refuse(name, "is neither true nor false", "write "+name+", or leave it out")
			break
		}
		w.good = append(w.good, args[0])
	case given && value == "":
		w.refuse(name, "is empty", "leave it out, or give it a value; a variable of the shell may not be set")
	case given:
		w.good = append(w.good, args[0])
	default:
		return w.takeValue(flag, args)
	}
	return 1
}

// takeValue sorts a flag whose value is the next argument.
func (w *words) takeValue(flag *kong.Flag, args []string) int {
	name := args[0]
	if len(args) == 1 {
		w.refuse(name, "has no value", "write "+flag.String())
		return 1
	}
	value := args[1]
	next, _, _ := strings.Cut(value, "=")
	switch {
	case value == "":
		w.refuse(name, "is empty", "leave it out, or give it a value; a variable of the shell may not be set")
	case w.flag(next) != nil:
		w.refuse(name, "has no value", "write "+flag.String())
		return 1
	case strings.HasPrefix(value, "-") && value != "-":
		w.refuse(name, fmt.Sprintf("is followed by %q, which looks like a flag", value), "give it a value; one that begins with a hyphen is written "+name+"="+value)
	default:
		w.good = append(w.good, name+"="+value)
	}
	return 2
}

func (w *words) refuse(what, problem, fix string) {
	if fix == "" {
		fix = "`leafward " + w.command + " --help` lists the flags"
	}
	w.wrong = append(w.wrong, leafward.Field{Field: what, Problem: problem, Fix: fix})
}

// flag is the one that is called so, with its hyphens; nil without one.
func (w *words) flag(name string) *kong.Flag {
	for _, f := range w.flags {
		if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}
