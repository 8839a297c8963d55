package cli

import (
	"os"

	"golang.org/x/sys/windows"
)

// terminalWidth is the width of the console that a file is, in columns; ok is false when it is none or shows no colours.
func terminalWidth(file *os.File) (columns int, ok bool) {
	console := windows.Handle(file.Fd())
	var mode uint32
	var info windows.ConsoleScreenBufferInfo
	if windows.GetConsoleMode(console, &mode) != nil || windows.GetConsoleScreenBufferInfo(console, &info) != nil {
		return 0, false
	}
	err := windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	return int(info.Window.Right-info.Window.Left) + 1, err == nil
}
