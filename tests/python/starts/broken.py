def below():
    raise AttributeError("broken on purpose, at redis://user:secret@host/0")


below()
