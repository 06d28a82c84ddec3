// Files that torch.save() writes: a dictionary of tensors.
#pragma once

#include <vector>

#include "model/file_tensor.h"
#include "model/input_file.h"

namespace zerostream {

// Reads which tensors a file holds (zip form, of PyTorch 1.6 and later) and where: a pickle says
// so, which is read as data and executes nothing. Accepted are a dict or OrderedDict of names to
// tensors or parameters of the storage types of plain numbers; of views, those whose elements lie
// one behind the other, row by row or (matrices) column by column. Several may share their bytes.
// Every place is checked against the file. Throws CheckpointError naming file and tensor.
std::vector<FileTensor> read_torch_file(const InputFile& file);

}  // namespace zerostream
