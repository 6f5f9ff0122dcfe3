from arcmargin.tracking.log_file import LogFile


def test_whole_lines_that_were_written_since(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("of an earlier attempt\n")
    log = LogFile(path)
    assert log.new_lines() == ""
    with path.open("a", encoding="utf-8") as file:
        file.write("epoch 1\nepoch")
        file.flush()
        assert log.new_lines() == "epoch 1\n"
        file.write(" 2, 3°\n")
        file.flush()
        assert log.new_lines() == "epoch 2, 3°\n"
        assert log.new_lines() == ""


def test_a_file_that_comes_later_and_one_that_goes(tmp_path):
    log = LogFile(tmp_path / "run.log")
    assert log.new_lines() == ""
    log.path.write_bytes(b"caf\xc3\xa9 \xff\n")
    assert log.new_lines() == "café \N{REPLACEMENT CHARACTER}\n"
    log.path.unlink()
    assert log.new_lines() == ""
