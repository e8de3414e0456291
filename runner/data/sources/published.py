"""Where the named data sets are published, with the size and the SHA-256 of each file."""

from runner.data.sources.download import Published

_IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_files(folder: str, *sums: tuple[int, str]) -> tuple[Published, ...]:
    return tuple(
        Published(name, f"{folder}/{name}", size, sha256)
        for name, (size, sha256) in zip(_IDX_NAMES, sums, strict=True)
    )


# Sizes and sums are those that TensorFlow Datasets pins, in its folder url_checksums.
PUBLISHED: dict[str, tuple[Published, ...]] = {
    # url_checksums/mnist.txt
    "mnist": _idx_files(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    # url_checksums/fashion_mnist.txt; there by http, here the same files from the publisher's
    # repository.
    "fashion_mnist": _idx_files(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    # url_checksums/kmnist.txt; there by http.
    "kmnist": _idx_files(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist",
        (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
    # url_checksums/emnist.txt; NIST has since moved the file to another address.
    "emnist": (
        Published(
            "gzip.zip",
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            561753746,
            "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
        ),
    ),
    # url_checksums/cifar10.txt
    "cifar10": (
        Published(
            "cifar-10-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170052171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    # url_checksums/cifar100.txt
    "cifar100": (
        Published(
            "cifar-100-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            168513733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
}
