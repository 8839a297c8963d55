package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leafward/leafward"
)

const (
	maxPath = 1024    // bytes
	maxFile = 1 << 20 // bytes of a file that is to be replaced
)

// Rules are what a host lets its agent write and run. They come from the agent's own command line; nothing that the
// server sends can widen them.
type Rules struct {
	roots    []string // directories, links resolved
	own      string   // the agent's own directory, which no target may touch
	commands []Command
}

// NewRules allows writing below /etc/leafward, /etc/nginx, /etc/ssl and the given directories, never below own; and
// running nginx -t, nginx -s reload, systemctl reload nginx and the given command lines, each exactly as written.
func NewRules(own string, paths, commands []string) (Rules, error) {
	var r Rules
	var problems leafward.Problems
	var err error
	if r.own, err = directory(own); err != nil {
		problems.Add("--data-dir", err.Error(), "name the agent's directory by its absolute path")
	}
	for _, path := range slices.Concat([]string{"/etc/leafward", "/etc/nginx", "/etc/ssl"}, paths) {
		root, err := directory(path)
		if err == nil {
			r.roots = append(r.roots, root)
		} else if slices.Contains(paths, path) {
			problems.Add("--allow-path", err.Error(), "name a directory by its absolute path")
		}
	}
	for _, text := range slices.Concat([]string{"nginx -t", "nginx -s reload", "systemctl reload nginx"}, commands) {
		command, err := ParseCommand(text)
		if err != nil {
			problems.Add("--allow-command", err.Error(), "write a program and its arguments, without a shell")
			continue
		}
		r.commands = append(r.commands, command)
	}
	return r, problems.Err()
}

// Paths are the directories below which may be written, links resolved.
func (r Rules) Paths() []string { return slices.Clone(r.roots) }

// Commands are the command lines that may be run.
func (r Rules) Commands() (lines []string) {
	for _, c := range r.commands {
		lines = append(lines, c.String())
	}
	return lines
}

// directory is the absolute path of a directory, which need not exist yet, with its links resolved.
func directory(path string) (string, error) {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, string(filepath.Separator))
	}
	if problem := PathProblem(path); problem != "" {
		return "", fmt.Errorf("%.200q %s", path, problem)
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%.200q is not absolute", path)
	}
	return resolve(path)
}

// Command reads a command line that the server sent; it must be on the list.
func (r Rules) Command(text string) (Command, error) {
	command, err := ParseCommand(text)
	if err != nil {
		return nil, err
	}
	return command, r.allow(command)
}

func (r Rules) allow(command Command) error {
	if slices.ContainsFunc(r.commands, func(c Command) bool { return slices.Equal(c, command) }) {
		return nil
	}
	return leafward.Errorf(leafward.Denied, fmt.Sprintf("start the agent with --allow-command %q if this host may run it", command.String()),
		"this agent may not run %s", command)
}

// Path is where a file of a kind would really be written: links are resolved, and the result must be below an allowed
// directory or be a file of the same kind. A file that is there must be of the same kind in any case, so that a
// certificate never replaces a configuration.
func (r Rules) Path(path string, kind Kind) (string, error) {
	problem := PathProblem(path)
	if problem == "" && !filepath.IsAbs(path) {
		problem = "is not a path of this host"
	}
	if problem != "" {
		return "", leafward.Errorf(leafward.Invalid, "write the absolute path of a file, without . and ..", "the path %.200q %s", path, problem)
	}
	real, err := resolve(path)
	if err != nil {
		return "", leafward.Errorf(leafward.Precondition, "make the directory, or mend the link", "the path %s cannot be used: %v", path, err)
	}
	inside := slices.ContainsFunc(r.roots, func(root string) bool { return below(root, real) })
	deny := func(fix, format string, args ...any) error {
		return leafward.Errorf(leafward.Denied, fix, "this agent may not write %s: %s", named(path, real), fmt.Sprintf(format, args...))
	}
	if below(r.own, real) || real == r.own {
		return "", deny("choose another path", "it is in the agent's own directory")
	}
	if trusted, _ := regexp.MatchString(`^[0-9a-f]{8}\.r?[0-9]+$`, filepath.Base(real)); trusted {
		return "", deny("choose another name", "a file of that name is trusted by OpenSSL as an authority")
	}
	file, err := read(real)
	switch {
	case err != nil:
		return "", leafward.Errorf(leafward.Precondition, "move away what is there, or choose another path", "%s cannot be replaced: %v", path, err)
	case !file.exists && !inside:
		allow := "choose a path below " + strings.Join(r.roots, ", ") + ", or start the agent with --allow-path " + filepath.Dir(real)
		return "", deny(allow, "it is outside the allowed directories, and there is no %s to replace", kind)
	case !file.exists || inside && len(file.content) == 0:
		return real, nil
	}
	found := contentsOf(file.content)
	switch {
	case !found.is(kind):
		return "", deny("choose another path, or move away what is there if the path is right", "what is there is not a %s", kind)
	case len(found.certificates) > maxChain || !inside && (kind == Chain || found.trusts()):
		return "", deny("choose another path", "what is there are certificates that this machine trusts, not one that it shows")
	}
	return real, nil
}

// named shows a path, and where it leads when that is another.
func named(path, real string) string {
	if path == real {
		return path
	}
	return path + " (which is " + real + ")"
}

// PathProblem says what is wrong with the form of a file's path on any host, Unix or Windows; "" is nothing.
func PathProblem(name string) string {
	drive := len(name) > 3 && name[1] == ':' && (name[2] == '\\' || name[2] == '/')
	switch {
	case len(name) > maxPath:
		return fmt.Sprintf("has more than %d bytes", maxPath)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "holds characters that cannot be in a path"
	case !drive && !path.IsAbs(name):
		return "is not absolute"
	case !drive && path.Clean(name) != name:
		return "is not in its shortest form " + path.Clean(name)
	case slices.Contains(strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '\\' }), ".."):
		return "goes up with .."
	}
	return ""
}

func below(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// resolve follows the links of the part of a path that exists; the rest stays as it is.
func resolve(path string) (string, error) {
	head, rest := path, ""
	for {
		_, err := os.Lstat(head)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || head == filepath.Dir(head) {
			return "", err
		}
		head, rest = filepath.Dir(head), filepath.Join(filepath.Base(head), rest)
	}
	real, err := filepath.EvalSymlinks(head)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is a link to something that does not exist", head)
	}
	return filepath.Join(real, rest), err
}

// existing is a file as it stands.
type existing struct {
	exists   bool
	content  []byte
	mode     fs.FileMode
	uid, gid int
}

// read reads a regular file of bounded size; one that does not exist is no error.
func read(path string) (existing, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return existing{uid: -1, gid: -1}, nil
	}
	if err != nil {
		return existing{}, err
	}
	if !info.Mode().IsRegular() {
		return existing{}, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return existing{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	uid, gid := ownerOf(info)
	return existing{exists: true, content: content, mode: info.Mode().Perm(), uid: uid, gid: gid}, err
}
